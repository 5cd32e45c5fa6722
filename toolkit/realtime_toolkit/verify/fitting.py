"""Insert a row, trying other values where a constraint or a trigger refuses them.

What checks want is asked of the database itself: their expressions are evaluated over lists of likely values, all checks
that share a column at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from realtime_toolkit.verify import bounds, refusals, values
from realtime_toolkit.verify.rows import as_row, as_texts, equals, insert_statement, literal, relation
from realtime_toolkit.verify.tables import USERS, Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from realtime_toolkit.verify.ownership import Belonging
    from realtime_toolkit.verify.people import Row
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Column, Table

_TRIES = 150
_SOLUTIONS = 24
_COMBINATIONS = 20_000
_EXPRESSION = re.compile(r"^CHECK \((?P<text>.*)\)(?: NO INHERIT)?(?: NOT VALID)?$", re.DOTALL)
_NEW = re.compile(r"\bnew\s*\.\s*(\w+|\"(?:[^\"]|\"\")+\")", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Made:
    row: Row
    adopted: bool
    """It was there already: a trigger or a migration made it."""


class Fitter:
    def __init__(self, connection: Connection, belonging: Belonging) -> None:
        self._connection = connection
        self._belonging = belonging
        self._number = 100
        self.constants: set[str] = set()
        """Tables that a migration filled."""
        self.others: dict[str, str] = {}
        """Whoever may stand beside a person where two have to differ: by identity, or by the key of their row."""
        self._inside: dict[tuple[str, str], int] = {}

    def insert(self, table: Table, row: Row) -> Made:
        """The row as it came to be; ``row`` is changed to what had to be given. Raises the last :class:`psycopg.Error`."""
        changes: dict[str, Iterator[Row]] = {}
        given = dict(row)
        for _ in range(_TRIES):
            try:
                return Made(self._insert(table, row), adopted=False)
            except psycopg.Error as error:
                if error.sqlstate is None:
                    raise
                existing = self._existing(table, row, error)
                if existing is not None:
                    return Made(existing, adopted=True)
                change = self._change(table, row, error, changes)
                if change is None:
                    # Of settings or constants, which are nobody's, whatever is there will do.
                    owned = table.name in self._belonging.owned - self.constants
                    found = [] if owned else self.some(table, 1)
                    if not found:
                        raise
                    row.clear()
                    row.update(given)
                    return Made(found[0], adopted=True)
                row.clear()
                row.update(change)
        raise psycopg.errors.CheckViolation("no value found that every constraint takes")

    def some(self, table: Table, most: int = 50) -> list[Row]:
        """Rows that are there, without looking for them."""
        query = sql.SQL("select {} from {} limit {}").format(as_texts(table), relation(table), most)
        return [as_row(table, found) for found in self._connection.execute(query).fetchall()]

    def fresh(self, column: Column) -> str | None:
        """A value that no row has yet, as far as the type has room."""
        self._number += 1
        return values.plain(column, self._number)

    def value(self, table: Table, column: Column) -> str | None:
        """The same, inside of the partition that the table is."""
        if column.name not in table.partition_key:
            return self.fresh(column)
        place = (table.name, column.name)
        self._inside[place] = self._inside.get(place, 100) + 1
        return bounds.inside(table, column, self._inside[place])

    def _insert(self, table: Table, row: Row) -> Row:
        statement = sql.SQL("{} returning {}").format(insert_statement(table, row), as_texts(table))
        with self._connection.transaction():
            made = self._connection.execute(statement).fetchone()
        if made is None:
            raise refusals.KeptOutError("a trigger keeps the row out")
        return as_row(table, made)

    # -- the row that is there already ---------------------------------------------------------------------

    def _existing(self, table: Table, row: Row, error: psycopg.Error) -> Row | None:
        """The same person's row that a trigger made, where it is in the way."""
        taken = refusals.unique(table, error)
        owners = self._owners(table)
        if taken is None or not owners & set(taken.columns):
            return None
        users = self._belonging.users.get(table.name, frozenset())
        known = [name for name in dict.fromkeys((*taken.columns, *users)) if row.get(name) is not None]
        if not owners & set(known):
            return None
        return self.where(table, {name: row[name] for name in known})

    def where(self, table: Table, known: Row) -> Row | None:
        """A row with these values."""
        where = sql.SQL(" and ").join(equals(table, name, value) for name, value in known.items())
        query = sql.SQL("select {} from {} where {} limit 1").format(as_texts(table), relation(table), where)
        found = self._connection.execute(query).fetchone()
        return None if found is None else as_row(table, found)

    def _owners(self, table: Table) -> set[str]:
        """Columns that say whose a row is; where a person has one of the rows, all that refer to another row."""
        found = {*self._belonging.users.get(table.name, ())}
        for key in table.foreign_keys:
            if key.target == USERS or key.target in self._belonging.personal:
                found |= set(key.columns)
        if table.name not in self._belonging.personal:
            found |= {name for key in table.foreign_keys for name in key.columns}
        return found

    # -- other values ----------------------------------------------------------------------------------------

    def _change(
        self, table: Table, row: Row, error: psycopg.Error, changes: dict[str, Iterator[Row]]
    ) -> Row | None:
        """The row to try next; ``None``: there is no other."""
        change = self._constrained(table, row, error, changes)
        if change is not None:
            return {**row, **change}
        return self._as_a_trigger_wants(table, row, error, changes)

    def _constrained(
        self, table: Table, row: Row, error: psycopg.Error, changes: dict[str, Iterator[Row]]
    ) -> Row | None:
        about = refusals.is_about(table, error)
        if isinstance(error, (psycopg.errors.UniqueViolation, psycopg.errors.ExclusionViolation)):
            return self._another(table, row, error, changes) if about else None
        if isinstance(error, psycopg.errors.NotNullViolation) and about:
            change = self._not_null(table, row, error.diag.column_name)
            if change is not None:
                return change
        refused = refusals.check(table, error)
        if refused is not None:
            return next(changes.setdefault(refused.name, self._solved(table, row, refused)), None)
        if isinstance(error, psycopg.errors.CheckViolation) and table.partition_key and about:
            return next(changes.setdefault("", self._other_partition_keys(table)), None)
        return None

    def _not_null(self, table: Table, row: Row, name: str | None) -> Row | None:
        column = next((c for c in table.columns if c.name == name and not c.generated), None)
        if column is None or row.get(column.name) is not None:
            return None
        value = self.value(table, column)
        return None if value is None else {column.name: value}

    def _another(
        self, table: Table, row: Row, error: psycopg.Error, changes: Mapping[str, Iterator[Row]]
    ) -> Row | None:
        """For values that are taken: what else a check takes, else other numbers, else another label."""
        taken = refusals.unique(table, error)
        columns = taken.columns if taken is not None else ()
        for check in table.checks:
            if check.name in changes and set(columns) & set(check.columns):
                change = next(changes[check.name], None)
                if change is not None:
                    return change
        return self._renumbered(table, row, columns) or self._relabelled(table, row, columns)

    def _renumbered(self, table: Table, row: Row, columns: tuple[str, ...]) -> Row | None:
        fixed = self._fixed(table)
        change: Row = {}
        for column in (table.column(name) for name in columns if name not in fixed):
            value = None if column.kind == "e" or column.base == "boolean" else self.value(table, column)
            if value is not None and value != row.get(column.name):
                change[column.name] = value
        return change or None

    def _relabelled(self, table: Table, row: Row, columns: tuple[str, ...]) -> Row | None:
        """The next label of an enum, the next combination of several."""
        for column in (table.column(name) for name in columns if name not in self._fixed(table)):
            if column.kind == "e" and row.get(column.name) in column.labels[:-1]:
                return {column.name: column.labels[column.labels.index(str(row[column.name])) + 1]}
        return None

    def _fixed(self, table: Table) -> set[str]:
        """Columns that say whose the row is, and those that cannot be written."""
        found = {name for key in table.foreign_keys for name in key.columns}
        found |= self._belonging.users.get(table.name, frozenset())
        return found | {column.name for column in table.columns if column.generated}

    def _other_partition_keys(self, table: Table) -> Iterator[Row]:
        """A hash partition takes some keys only: try until one falls into it."""
        for _ in range(_TRIES):
            yield {name: self.value(table, table.column(name)) for name in table.partition_key}

    def _as_a_trigger_wants(
        self, table: Table, row: Row, error: psycopg.Error, changes: dict[str, Iterator[Row]]
    ) -> Row | None:
        """Step by step: a refusal in a line that did not refuse before is a step further, one of before a step back."""
        name, place = refusals.function(error), refusals.line(error)
        if name is None:
            return None
        if place not in changes:
            changes[place] = self._wanted_by(table, dict(row), Check(name, (), self._source(name)))
        last = [place for place in changes if refusals.is_line(place)][-1]
        return next(changes[last], None)

    def _source(self, function: str) -> str:
        query = "select prosrc from pg_catalog.pg_proc where oid = pg_catalog.to_regprocedure(%s)"
        try:
            with self._connection.transaction():
                found = self._connection.execute(query, (function,)).fetchone()
        except psycopg.DatabaseError:
            return ""
        return str(found[0]) if found else ""

    def _wanted_by(self, table: Table, row: Row, function: Check) -> Iterator[Row]:
        """The row with one column after the other changed to what the function's source mentions."""
        mentioned = {name.strip('"').lower() for name in _NEW.findall(function.definition)}
        for column in table.columns:
            if column.name.lower() in mentioned - self._fixed(table):
                for value in values.offered(column, function.definition)[:12]:
                    yield {**row, column.name: value}

    # -- what checks want --------------------------------------------------------------------------------------

    def _solved(self, table: Table, row: Row, refused: Check) -> Iterator[Row]:
        """Values that all checks take which share a column with the one that refused."""
        joined = _joined(table, refused)
        names = list(dict.fromkeys(name for check in joined for name in check.columns))
        offers = {name: self._offers(table, row, table.column(name), joined) for name in names}
        free = [name for name in names if offers[name]]
        try:
            with self._connection.transaction():
                found = list(self._evaluated(table, row, joined, {name: offers[name] for name in free}))
        except psycopg.DatabaseError:  # an expression raised for one of the values
            columns = tuple(c for c in map(table.column, refused.columns) if c.name not in self._fixed(table))
            found = list(map(dict, values.guesses(refused, columns)))
        yield from found

    def _offers(self, table: Table, row: Row, column: Column, checks: list[Check]) -> list[str | None]:
        """Likely values of a column, its present one first; of one that says whose the row is: that or null."""
        present: list[str | None] = [row[column.name]] if column.name in row else values.constant(column)
        null: list[str | None] = [] if column.not_null else [None]
        if column.generated:
            return []
        if column.name in self._fixed(table):
            another = self.others.get(row.get(column.name) or "")
            beside: list[str | None] = [] if another is None else [another]
            return list(dict.fromkeys((*present, *null, *beside)))
        definition = " AND ".join(check.definition for check in checks if column.name in check.columns)
        made = (*present, *null, self.value(table, column), *values.offered(column, definition))
        return list(dict.fromkeys(value for value in made if value is not None or not column.not_null))

    def _evaluated(
        self, table: Table, row: Row, checks: list[Check], offers: Mapping[str, list[str | None]]
    ) -> Iterator[Row]:
        """Combinations of these values for which no check is false."""
        share = _share(offers)
        sources = [
            sql.SQL("(values {}) as {} ({}, {})").format(
                sql.SQL(", ").join(
                    sql.SQL("({}, {}::{})").format(place, literal(table, name, value), sql.SQL(table.column(name).type))
                    for place, value in enumerate(offers[name][:share])
                ),
                sql.Identifier(f"v{number}"), sql.Identifier(f"place {number}"), sql.Identifier(name),
            )
            for number, name in enumerate(offers)
        ]  # fmt: skip
        places = [sql.Identifier(f"place {number}") for number in range(len(offers))]
        query = sql.SQL("select {} from {} where {} order by {} limit {}").format(
            sql.SQL(", ").join(places),
            sql.SQL(", ").join(sources),
            sql.SQL(" and ").join(
                sql.SQL("({}) is not false").format(e) for e in _expressions(table, checks)
            ),
            sql.SQL("{}, {}").format(sql.SQL(" + ").join(places), sql.SQL(", ").join(places)),
            _SOLUTIONS,
        )
        found = self._connection.execute(query).fetchall()
        for chosen in found:
            yield {name: offers[name][place] for name, place in zip(offers, chosen, strict=True)}


def _joined(table: Table, refused: Check) -> list[Check]:
    """The check and all that share a column with it, or with one of those; each once."""
    found, columns, grew = [refused], set(refused.columns), True
    while grew:
        more = [check for check in table.checks if check not in found and columns & set(check.columns)]
        found += more
        columns |= {name for check in more for name in check.columns}
        grew = bool(more)
    return found


def _share(offers: Mapping[str, list[str | None]]) -> int:
    """How many values of each column can be combined with those of the others."""
    share = max(map(len, offers.values()), default=1)
    while share > 2 and _combinations(offers, share) > _COMBINATIONS:
        share -= 1
    return share


def _combinations(offers: Mapping[str, list[str | None]], share: int) -> int:
    product = 1
    for offered in offers.values():
        product *= min(len(offered), share)
    return product


def _expressions(table: Table, checks: list[Check]) -> Iterator[sql.Composable]:
    """The checks' expressions; that of a domain once for every column."""
    for check in checks:
        found = _EXPRESSION.match(check.definition)
        if found is None:
            continue
        if not re.search(r"\bVALUE\b", found["text"]):
            yield sql.SQL(found["text"])
            continue
        for name in check.columns:
            column = sql.Identifier(name).as_string(None)
            yield sql.SQL(re.sub(r"\bVALUE\b", lambda _, text=column: text, found["text"]))

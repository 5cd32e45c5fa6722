"""Rows for three people in two tenants, made from the schema itself, inside the caller's transaction.

Alice and Bob share a tenant, Mallory has another. Each gets one row in every table; a foreign key takes the
row of the same person, so that what hangs together belongs together. Where a constraint refuses a value
others are tried; a table that takes none of them stays without rows, with the SQLSTATE that said so.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from realtime_toolkit.verify import values
from realtime_toolkit.verify.tables import USERS, in_dependency_order

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from realtime_toolkit.verify.ownership import Belonging
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Column, Model, Table

Row = dict[str, str | None]
"""Column → value as text."""
_TRIES = 80


class Who(StrEnum):
    ALICE = "alice"
    BOB = "bob"
    MALLORY = "mallory"
    NOBODY = "nobody"

    @property
    def tenant(self) -> str:
        return "b" if self is Who.MALLORY else "a"

    @property
    def user_id(self) -> str:
        return str(uuid.uuid5(values.NAMESPACE, self.value))


PEOPLE = (Who.ALICE, Who.BOB, Who.MALLORY)


@dataclass(slots=True)
class World:
    """What was seeded. ``failed`` says why a table has no row for somebody: SQLSTATE and a column or constraint."""

    rows: dict[tuple[str, Who], Row] = field(default_factory=dict)
    given: dict[tuple[str, Who], Row] = field(default_factory=dict)
    """What had to be given to make that row; the rest are defaults."""
    failed: dict[str, str] = field(default_factory=dict)
    script: list[str] = field(default_factory=list)
    """The same rows as INSERT statements with every value spelled out, for exports."""


class Seeder:
    def __init__(self, connection: Connection, model: Model, belonging: Belonging) -> None:
        self._connection = connection
        self._model = model
        self._belonging = belonging
        self._number = 100
        self.world = World()

    def seed(self) -> World:
        self._connection.execute("set constraints all deferred")
        columns = self._columns_of_users()
        for who in PEOPLE if columns else ():
            self._user(who, columns)
        for table in in_dependency_order(self._model.tables.values()):
            if table.kind == "p":
                continue
            for who in PEOPLE:
                self._person_row(table, who)
            if self._can_be_ownerless(table):
                self._try(table, Who.NOBODY, self.row_for(table, Who.NOBODY))
        return self.world

    # -- one row --------------------------------------------------------------------------------------

    def row_for(
        self, table: Table, who: Who, *, chosen: Mapping[str, str | None] | None = None
    ) -> Row | None:
        """Values for an INSERT, without those that have a default; ``None`` where a row it needs is missing."""
        row: Row = {}
        for key in table.foreign_keys:
            if not self._fill_foreign(table, key.columns, key.target, key.target_columns, who, row):
                return None
        for column in table.columns:
            name = column.name
            if name in row or column.generated:
                continue
            if name in self._belonging.users.get(table.name, ()):
                row[name] = None if who is Who.NOBODY else who.user_id
            elif name in self._belonging.tenants.get(table.name, ()):
                row[name] = None if who is Who.NOBODY else tenant_value(name, column.base, who.tenant)
            elif name in table.partition_key:
                row[name] = self._partition_value(table, column)
            elif column.required:
                row[name] = values.plain(column, self._next())
        return {**row, **(chosen or {})}

    def _fill_foreign(
        self,
        table: Table,
        columns: tuple[str, ...],
        target: str,
        target_columns: tuple[str, ...],
        who: Who,
        row: Row,
    ) -> bool:
        found = self._target_row(target, who)
        optional = [name for name in columns if not table.column(name).not_null]
        if found is None or target == table.name:
            if not optional:
                return False
            row.setdefault(optional[0], None)
            return True
        for name, target_name in zip(columns, target_columns, strict=True):
            if row.get(name) is None:
                row[name] = found[target_name]
        return True

    def _target_row(self, target: str, who: Who) -> Row | None:
        if who is Who.NOBODY and (target == USERS or target in self._belonging.owned):
            return None
        if target == USERS:
            return {"id": who.user_id}
        at = Who.ALICE if who is Who.NOBODY else who
        found = self.world.rows.get((target, at))
        if found is None:  # a partitioned table has its rows in the partitions
            leaves = (
                t.name for t in self._model.tables.values() if target in (p.parent for p in t.partitions)
            )
            found = next(
                (self.world.rows[leaf, at] for leaf in leaves if (leaf, at) in self.world.rows), None
            )
        return found

    def _person_row(self, table: Table, who: Who) -> None:
        shared = table.name not in self._belonging.personal and who is Who.BOB
        if shared or (table.name not in self._belonging.owned and who is not Who.ALICE):
            if (table.name, Who.ALICE) in self.world.rows:
                self.world.rows[table.name, who] = self.world.rows[table.name, Who.ALICE]
                self.world.given[table.name, who] = self.world.given[table.name, Who.ALICE]
            return
        row = self.row_for(table, who)
        if row is None:
            self.world.failed.setdefault(table.name, "a table it refers to has no row")
        else:
            self._try(table, who, row)

    def _can_be_ownerless(self, table: Table) -> bool:
        columns = {*self._belonging.users.get(table.name, ()), *self._belonging.tenants.get(table.name, ())}
        for key in table.foreign_keys:
            if key.target == USERS or key.target in self._belonging.owned:
                columns |= set(key.columns)
        return bool(columns) and all(not table.column(name).not_null for name in columns)

    def _try(self, table: Table, who: Who, row: Row | None) -> None:
        if row is None:
            return
        try:
            made = self.insert(table, row)
            if who is Who.MALLORY and self._is_of_alices_tenant(table, made):
                return  # a partition of one tenant: a stranger has no rows in it
            self.world.rows[table.name, who] = made
            self.world.given[table.name, who] = row
            self.world.script.append(spelled_out(table, made).as_string(self._connection))
        except psycopg.Error as error:
            self.world.failed[table.name] = _why(error)

    def _is_of_alices_tenant(self, table: Table, made: Row) -> bool:
        alices = self.world.rows.get((table.name, Who.ALICE))
        columns = self._belonging.tenants.get(table.name, frozenset())
        return alices is not None and any(
            alices[name] is not None and alices[name] == made[name] for name in columns
        )

    # -- inserting until it fits --------------------------------------------------------------------------

    def insert(self, table: Table, row: Row) -> Row:
        """Insert, trying other values where a constraint refuses; raises the last :class:`psycopg.Error`."""
        options: dict[str | None, Iterator[Mapping[str, str]]] = {}
        for _ in range(_TRIES):
            try:
                return self._insert(table, row)
            except psycopg.errors.UniqueViolation as error:
                existing = self._adopt(table, row, error)
                if existing is not None:
                    return existing
                if not self._try_another(table, row, error, options) and not self._renumber(
                    table, row, error
                ):
                    raise
            except psycopg.errors.CheckViolation as error:
                name = error.diag.constraint_name
                change = next(options.setdefault(name, self._options(table, error)), None)
                if change is None:
                    raise
                row.update(change)
            except psycopg.errors.NotNullViolation as error:
                name = error.diag.column_name
                value = None if name is None else values.plain(table.column(name), self._next())
                if name is None or value is None or row.get(name) is not None:
                    raise
                row[name] = value
        raise psycopg.errors.CheckViolation("no value found that every constraint takes")

    def _insert(self, table: Table, row: Row) -> Row:
        statement = insert_statement(table, row)
        returning = sql.SQL(", ").join(
            sql.SQL("{}::text").format(sql.Identifier(c.name)) for c in table.columns
        )
        with self._connection.transaction():
            made = self._connection.execute(statement + sql.SQL(" returning ") + returning).fetchone()
        if made is None:  # a trigger swallowed it
            raise psycopg.errors.TriggeredActionException("a trigger keeps the row out")
        return dict(zip((c.name for c in table.columns), made, strict=True))

    def _adopt(self, table: Table, row: Row, error: psycopg.Error) -> Row | None:
        """The row that is there already, where it is the same person's: a trigger may have made it."""
        unique = _unique(table, error)
        given = {name: row.get(name) for name in unique}
        owners = {*self._belonging.users.get(table.name, ()), *self._belonging.tenants.get(table.name, ())}
        owners |= {name for key in table.foreign_keys for name in key.columns}
        if not unique or not set(unique) <= owners or None in given.values():
            return None
        where = sql.SQL(" and ").join(equals(table, name, value) for name, value in given.items())
        columns = sql.SQL(", ").join(
            sql.SQL("{}::text").format(sql.Identifier(c.name)) for c in table.columns
        )
        query = sql.SQL("select {} from {} where {}").format(columns, relation(table), where)
        found = self._connection.execute(query).fetchone()
        return None if found is None else dict(zip((c.name for c in table.columns), found, strict=True))

    def _try_another(
        self,
        table: Table,
        row: Row,
        error: psycopg.Error,
        options: Mapping[str | None, Iterator[Mapping[str, str]]],
    ) -> bool:
        """For a value that a check took but that is taken: what else that check may take."""
        unique = set(_unique(table, error))
        for check in table.checks:
            change = (
                next(options[check.name], None)
                if check.name in options and unique & set(check.columns)
                else None
            )
            if change is not None:
                row.update(change)
                return True
        return False

    def _renumber(self, table: Table, row: Row, error: psycopg.Error) -> bool:
        """Other values for the columns of a unique constraint; false where none of them is free to change."""
        fixed = {name for key in table.foreign_keys for name in key.columns} | self._belonging.users.get(
            table.name, frozenset()
        )
        changed = False
        for name in _unique(table, error):
            column = table.column(name)
            if name not in fixed and not column.generated and column.kind == "b":
                inside = name in table.partition_key
                row[name] = (
                    self._partition_value(table, column) if inside else values.plain(column, self._next())
                )
                changed = changed or row[name] is not None
        return changed

    def _options(self, table: Table, error: psycopg.Error) -> Iterator[Mapping[str, str]]:
        name = error.diag.constraint_name
        check = next((check for check in table.checks if check.name == name), None)
        if check is None:
            yield from self._other_partition_keys(table)
            return
        columns = tuple(table.column(column) for column in check.columns)
        fixed = {column for key in table.foreign_keys for column in key.columns}
        yield from values.guesses(check, tuple(c for c in columns if c.name not in fixed and not c.generated))

    def _other_partition_keys(self, table: Table) -> Iterator[Mapping[str, str]]:
        """A hash partition takes some keys only: try until one falls into it."""
        for _ in range(_TRIES):
            made = {name: self._partition_value(table, table.column(name)) for name in table.partition_key}
            yield {name: value for name, value in made.items() if value is not None}

    def _user(self, who: Who, columns: frozenset[str]) -> None:
        known = {
            "id": who.user_id,
            "aud": "authenticated",
            "role": "authenticated",
            "email": f"{who.value}@probe.invalid",
        }
        given = {name: value for name, value in known.items() if name in columns}
        statement = sql.SQL("insert into auth.users ({}) values ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, given)),
            sql.SQL(", ").join(map(sql.Literal, given.values())),
        )
        try:
            with self._connection.transaction():
                self._connection.execute(statement)
        except psycopg.Error as error:
            self.world.failed.setdefault(USERS, _why(error))
        else:
            self.world.script.append(statement.as_string(self._connection))

    def _columns_of_users(self) -> frozenset[str]:
        """Of auth.users, which is Supabase's and differs by its version; none where it is not there."""
        found = self._connection.execute(
            "select a.attname::text from pg_catalog.pg_attribute a join pg_catalog.pg_class c on c.oid = a.attrelid "
            "join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
            "where n.nspname = 'auth' and c.relname = 'users' and a.attnum > 0 and not a.attisdropped"
        )
        return frozenset(name for (name,) in found.fetchall())

    def _partition_value(self, table: Table, column: Column) -> str | None:
        """Inside the bounds of a range, the first value of a list; of a hash whatever comes next."""
        bound = next((p.bound for p in table.partitions if p.columns == (column.name,)), "")
        limits = [] if "modulus" in bound else values.literals(bound)
        if not limits:
            return values.plain(column, self._next())
        if " IN (" in bound:
            return limits[0]
        return values.above(limits[0], column, self._next()) or limits[0]

    def fresh(self, column: Column) -> str | None:
        """A value that no seeded row has."""
        return values.plain(column, self._next())

    def _next(self) -> int:
        self._number += 1
        return self._number


# -- SQL ---------------------------------------------------------------------------------------------------


def relation(table: Table) -> sql.SQL:
    return sql.SQL(table.name)  # quoted by regclass


def literal(table: Table, name: str, value: str | None) -> sql.Composable:
    if value is None:
        return sql.SQL("null")
    return sql.Literal(value) + sql.SQL("::" + table.column(name).type)


def equals(table: Table, name: str, value: str | None) -> sql.Composable:
    return sql.SQL("{} = {}").format(sql.Identifier(name), literal(table, name, value))


def insert_statement(table: Table, row: Row) -> sql.Composed:
    if not row:
        return sql.SQL("insert into {} default values").format(relation(table))
    return sql.SQL("insert into {} ({}) values ({})").format(
        relation(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(literal(table, name, value) for name, value in row.items()),
    )


def spelled_out(table: Table, row: Row) -> sql.Composed:
    """An INSERT that makes this very row, keys and defaults included; nothing happens where it is there."""
    kept = {c.name: row[c.name] for c in table.columns if c.identity or not c.generated}
    return sql.SQL("insert into {} ({}) overriding system value values ({}) on conflict do nothing").format(
        relation(table),
        sql.SQL(", ").join(map(sql.Identifier, kept)),
        sql.SQL(", ").join(literal(table, name, value) for name, value in kept.items()),
    )


def tenant_value(name: str, base: str, tenant: str) -> str:
    if base == "uuid":
        return str(uuid.uuid5(values.NAMESPACE, f"{name} {tenant}"))
    if base in ("smallint", "integer", "bigint", "numeric"):
        return "7001" if tenant == "a" else "7002"
    return f"tenant-{tenant}"


def _unique(table: Table, error: psycopg.Error) -> tuple[str, ...]:
    name = error.diag.constraint_name
    return next((u.columns for u in table.uniques if u.name == name), ())


def _why(error: psycopg.Error) -> str:
    named = error.diag.constraint_name or error.diag.column_name
    return f"{error.sqlstate or 'no value found'}{f' at {named}' if named else ''}"

"""Who may see a change, decided by the database: row level security and filters, in batches.

A row is visible to a reader if ``select`` by its primary key finds it, as that role, with those claims,
at the time of asking. One query string asks for any number of rows, tables and readers at once, in one
implicit transaction; a policy that raises fails all of it, as it does on the genuine server.

Filters compare the value in the WAL, not the current row. Those that Python decides exactly as Postgres
would are decided here; collations, patterns and unusual types are left to the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from psycopg import sql

from realtime_toolkit.errors import StoreError

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from realtime_toolkit.stack.realtime.bindings import Filter
    from realtime_toolkit.stack.realtime.catalog import Column, Table

Test = Callable[[str | None], bool]


@dataclass(frozen=True, slots=True)
class Reader:
    """As whom to look: a role and the text of ``request.jwt.claims``."""

    role: str
    claims: str


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A filter on a column of a table, its value checked and normalised by the database."""

    filter: Filter
    column: Column
    expected: tuple[str | None, ...]
    """The value (of ``in``: the values) as ``to_jsonb(…) #>> '{}'`` writes it."""
    test: Test | None
    """Decides for a column's text; ``None`` where only the database can."""

    def sql(self, texts: Sequence[str]) -> str:
        """A query for the 1-based positions of the texts that fulfil the condition."""
        value, type_ = literal(self.filter.value), self.column.sql_type
        expression = _EXPRESSIONS[self.filter.operator].format(v=f"k.v::{type_}", x=value, t=type_)
        negated = f"not ({expression})" if self.filter.negated else expression
        return _positions(f"unnest({array_literal(texts, 'text')}) with ordinality k(v, i)", negated)


_EXPRESSIONS = {
    "eq": "{v} = {x}::{t}",
    "neq": "{v} != {x}::{t}",
    "lt": "{v} < {x}::{t}",
    "lte": "{v} <= {x}::{t}",
    "gt": "{v} > {x}::{t}",
    "gte": "{v} >= {x}::{t}",
    "in": "{v} = any ({x}::{t}[])",
    "like": "{v} like {x}::{t}",
    "ilike": "{v} ilike {x}::{t}",
    "match": "{v} ~ {x}::{t}",
    "imatch": "{v} ~* {x}::{t}",
    "isdistinct": "{v} is distinct from {x}::{t}",
}


# --- filters that Python can decide ---------------------------------------------------------------

_EXACT = frozenset({16, 20, 21, 23, 25, 26, 1043, 1082, 1083, 1114, 1184, 2950})
"""Types whose equal values have equal texts: bool, integers, oid, text, varchar, dates and times, uuid."""
_NUMBERS: dict[int, Callable[[str], Any]] = {20: int, 21: int, 23: int, 1700: Decimal, 700: float, 701: float}
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: bool(a == b),
    "neq": lambda a, b: bool(a != b),
    "lt": lambda a, b: bool(a < b),
    "lte": lambda a, b: bool(a <= b),
    "gt": lambda a, b: bool(a > b),
    "gte": lambda a, b: bool(a >= b),
}


def condition(filter_: Filter, column: Column, expected: tuple[str | None, ...]) -> Condition:
    return Condition(filter_, column, expected, _test(filter_, column, expected))


def _test(filter_: Filter, column: Column, expected: tuple[str | None, ...]) -> Test | None:
    negated, operator = filter_.negated, filter_.operator
    if operator == "is":
        return _is_test(filter_.value, negated)
    if operator == "in" and not expected:  # nothing is in it, not even null
        return lambda text: negated
    number = _NUMBERS.get(column.type.base)
    if operator in _ORDER and number is not None and (expected[0] or "")[-1:].isdigit():  # not NaN
        compare, bound = _ORDER[operator], number(str(expected[0]))
        return lambda text: text is not None and compare(number(text), bound) is not negated
    if column.type.base not in _EXACT and column.type.kind != "e":
        return None
    return _exact_test(operator, expected, negated)


def _exact_test(operator: str, expected: tuple[str | None, ...], negated: bool) -> Test | None:
    wanted = frozenset(expected)
    if operator in ("eq", "neq"):
        found = (operator == "eq") is not negated
        return lambda text: text is not None and (text in wanted) is found
    if operator == "isdistinct":
        return lambda text: (text not in wanted) is not negated
    if operator == "in":
        if negated and None in wanted:  # x <> all (… null …) is never true
            return lambda text: False
        return lambda text: text is not None and (text in wanted) is not negated
    return None


def _is_test(keyword: str, negated: bool) -> Test:
    wanted = {"null": None, "unknown": None}.get(keyword, keyword)
    return lambda text: (text == wanted) is not negated


# --- questions to the database --------------------------------------------------------------------


def visible_sql(reader: Reader, table: Table, keys: Sequence[Sequence[str]]) -> str:
    """Statements that answer with the 1-based positions of the keys whose rows ``reader`` sees.

    ``keys`` are the texts of the primary key's columns. The look-up is a scalar subquery so that it stays
    one index scan per key: joined, it might run the policies over rows nobody asked about.
    """
    columns = [table.column(name) for name in table.key]
    arrays = (
        array_literal([key[index] for key in keys], column.sql_type) for index, column in enumerate(columns)
    )
    names = [f"c{index}" for index in range(len(columns))]
    equal = " and ".join(
        f"t.{identifier(column.name)} = k.{name}" for column, name in zip(columns, names, strict=True)
    )
    source = f"unnest({', '.join(arrays)}) with ordinality k({', '.join(names)}, i)"
    find = f"(select true from {table.qualified} t where {equal} limit 1)"
    return f"{become_sql(reader)};{_positions(source, find)}"


def settled_sql(xids: Iterable[int]) -> str:
    """A question answered with position 0 once all these transactions are visible to a new snapshot.

    The WAL has a commit a moment before other sessions see it, and the stream is that fast: a row asked
    for too early would look invisible. ``xids`` are 32 bits of the numbers, completed by the nearest epoch.
    """
    return (
        "select case when coalesce(bool_and(pg_visible_in_snapshot((n.next + ((x - n.next % 4294967296 + "
        "6442450944) % 4294967296) - 2147483648)::text::xid8, n.now)), true) then '1' else '' end "
        "from (select s.now, pg_snapshot_xmax(s.now)::text::int8 as next from pg_current_snapshot() s(now)) n, "
        f"unnest('{{{','.join(map(str, set(xids)))}}}'::int8[]) x"
    )


async def ask_settled(
    connection: AsyncConnection[Any], xids: Iterable[int], questions: Sequence[str]
) -> list[frozenset[int]]:
    """:func:`ask`, once the transactions are visible to everybody."""
    queries = [settled_sql(xids), *questions]
    while True:
        settled, *answers = await ask(connection, queries)
        if settled:
            return answers
        await asyncio.sleep(0.0002)


def become_sql(reader: Reader) -> str:
    return (
        f"select set_config('role', {literal(reader.role)}, true), "
        f"set_config('request.jwt.claims', {literal(reader.claims)}, true), "
        "set_config('enable_seqscan', 'off', true)"
    )


def _positions(source: str, where: str) -> str:
    return f"select array_to_string(array(select k.i from {source} where {where}), ',')"


async def ask(connection: AsyncConnection[Any], questions: Iterable[str]) -> list[frozenset[int]]:
    """Ask all questions in one round trip; 0-based positions for each. Raises :class:`psycopg.Error`."""
    queries = list(questions)
    if not queries:
        return []
    cursor = await connection.execute(";".join(queries).encode())
    answers: list[frozenset[int]] = []
    while True:
        row = await cursor.fetchone() if cursor.description else None
        if row is not None and len(row) == 1:  # settings answer with three columns
            answers.append(frozenset(int(text) - 1 for text in row[0].split(",")) if row[0] else frozenset())
        if not cursor.nextset():
            break
    if len(answers) != len(queries):
        raise StoreError(f"asked {len(queries)} questions, got {len(answers)} answers")
    return answers


# --- quoting --------------------------------------------------------------------------------------


def literal(text: str) -> str:
    """A string literal for a query string without parameters."""
    quoted = text.replace("'", "''")
    return "e'" + quoted.replace("\\", "\\\\") + "'" if "\\" in quoted else f"'{quoted}'"


def identifier(name: str) -> str:
    return sql.Identifier(name).as_string(None)


def array_literal(texts: Sequence[str], type_: str) -> str:
    elements = ",".join(_array_element(text) for text in texts)
    return f"{literal('{' + elements + '}')}::{type_}[]"


def _array_element(text: str) -> str:
    if text.isalnum() and text.upper() != "NULL":
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

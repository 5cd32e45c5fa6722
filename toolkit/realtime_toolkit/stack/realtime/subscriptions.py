"""Making a binding into subscriptions of tables, with the checks and the complaints of the genuine server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from realtime_toolkit.stack.realtime import catalog
from realtime_toolkit.stack.realtime.access import Condition, condition
from realtime_toolkit.stack.realtime.bindings import Binding, BindingError, Filter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection

    from realtime_toolkit.stack.realtime.catalog import Column, Table

PUBLICATION = "supabase_realtime"
_IN_MAXIMUM = 100
_IS_KEYWORDS = ("null", "true", "false", "unknown")

_ENTITIES = """
select format('%%I.%%I', schemaname, tablename)::regclass::oid::int8 from pg_catalog.pg_publication_tables
where pubname = %s
  and schemaname like (case %s when '*' then '%%' else %s end) escape ''
  and tablename like (case %s when '*' then '%%' else %s end) escape ''
"""


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """One table that a binding covers. ``select`` are the columns to show beside the key; ``None``: all."""

    oid: int
    action: str
    conditions: tuple[Condition, ...]
    select: frozenset[str] | None


class _RaisedError(Exception):
    """What the genuine server's trigger would have raised."""


async def subscribe(
    connection: AsyncConnection[Any], binding: Binding, role: str
) -> tuple[Subscription, ...]:
    """Subscribe in a transaction of its own. Raises :class:`BindingError` with the text for the channel."""
    try:
        async with connection.transaction():
            tables = await _tables(connection, binding, role)
            found = [await _subscription(connection, binding, table, role) for table in tables]
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise _refused(binding, describe(error)) from None
    except _RaisedError as error:
        raise _refused(binding, f"ERROR P0001 (raise_exception) {error}") from None
    if not found:
        raise BindingError(
            "Unable to subscribe to changes with given parameters. Please check Realtime is enabled for "
            f"the given connect parameters: [{binding}]"
        )
    return tuple(found)


def _refused(binding: Binding, exception: str) -> BindingError:
    return BindingError(
        "Unable to subscribe to changes with given parameters. An exception happened so please check your "
        f"connect parameters: [{binding}]. Exception: {exception}"
    )


def describe(error: psycopg.Error) -> str:
    """``ERROR 22P02 (invalid_text_representation) …``, as the server's database driver words it."""
    state = error.sqlstate or "XX000"
    try:
        name = psycopg.errors.lookup(state).__name__
    except KeyError:
        name = "InternalError"
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")
    hint = f"\n\n    hint: {error.diag.message_hint}" if error.diag.message_hint else ""
    return f"{error.diag.severity} {state} ({snake}) {error.diag.message_primary}{hint}"


async def _tables(connection: AsyncConnection[Any], binding: Binding, role: str) -> list[Table]:
    schema, table = binding.schema, binding.table
    cursor = await connection.execute(_ENTITIES, [PUBLICATION, schema, schema, table, table])
    oids = [row[0] for row in await cursor.fetchall()]
    if not oids:
        return []
    await connection.execute("select (%s::text)::regrole", [role])
    return list((await catalog.tables(connection, oids, [role])).values())


async def _subscription(
    connection: AsyncConnection[Any], binding: Binding, table: Table, role: str
) -> Subscription:
    selectable = table.selectable.get(role, frozenset())
    conditions = []
    for filter_ in binding.filters:
        if filter_.column not in selectable:
            raise _RaisedError(f"invalid column for filter {filter_.column}")
        conditions.append(await _condition(connection, filter_, table.column(filter_.column)))
    for name in binding.select or ():
        if name not in selectable:
            raise _RaisedError(f"invalid column for select {name}")
    select = None if binding.select is None else frozenset(binding.select)
    return Subscription(table.oid, binding.action, tuple(conditions), select)


async def _condition(connection: AsyncConnection[Any], filter_: Filter, column: Column) -> Condition:
    if filter_.operator == "is":
        _check_is(filter_, column)
        return condition(filter_, column, ())
    if filter_.operator in ("like", "ilike", "match", "imatch"):
        await _check_pattern(connection, filter_, column)
        return condition(filter_, column, (filter_.value,))
    expected = await _normalise(connection, filter_, column)
    if filter_.operator == "in" and len(expected) > _IN_MAXIMUM:
        raise _RaisedError("too many values for `in` filter. Maximum 100")
    return condition(filter_, column, expected)


def _check_is(filter_: Filter, column: Column) -> None:
    if filter_.value not in _IS_KEYWORDS:
        raise _RaisedError("invalid value for is filter: must be null, true, false, or unknown")
    if filter_.value != "null" and column.sql_type != "boolean":
        raise _RaisedError(f"is {filter_.value} filter requires a boolean column, got {column.sql_type}")


async def _check_pattern(connection: AsyncConnection[Any], filter_: Filter, column: Column) -> None:
    operator = {"like": "~~", "ilike": "~~", "match": "~", "imatch": "~*"}[filter_.operator]
    cursor = await connection.execute(
        "select exists (select from pg_catalog.pg_operator where oprname = %s and oprleft = %s "
        "and (oprname = '~~' or oprright = oprleft and oprresult = 'boolean'::regtype))",
        [operator, column.type.oid],
    )
    row = await cursor.fetchone()
    if row is None or not row[0]:
        raise _RaisedError(
            f"operator {filter_.operator} requires a text-compatible column type, got {column.sql_type}"
        )
    if operator != "~~":
        await _check_expression(connection, filter_)


async def _check_expression(connection: AsyncConnection[Any], filter_: Filter) -> None:
    try:
        async with connection.transaction():
            await connection.execute("select '' ~ %s", [filter_.value])
    except psycopg.DataError as error:
        raise _RaisedError(
            f"invalid regular expression for {filter_.operator} filter: {error.diag.message_primary}"
        ) from None


async def _normalise(
    connection: AsyncConnection[Any], filter_: Filter, column: Column
) -> tuple[str | None, ...]:
    """The filter's values as the column's type would write them; raises the database's error."""
    value, type_ = sql.Literal(filter_.value), sql.SQL(column.sql_type)
    if filter_.operator == "in":
        query = sql.SQL("select to_jsonb(v) #>> '{{}}' from unnest({}::{}[]) v").format(value, type_)
    else:
        query = sql.SQL("select to_jsonb({}::{}) #>> '{{}}'").format(value, type_)
    cursor = await connection.execute(query)
    rows: Sequence[tuple[str | None]] = await cursor.fetchall()
    return tuple(row[0] for row in rows)

"""For tests of the schema: statements as one of the API roles, as PostgREST would send them."""

from __future__ import annotations

import json
import uuid
from contextlib import asynccontextmanager
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import set_json_loads

from realtime_toolkit.model import Digest, row_hash

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

Connection = psycopg.AsyncConnection[tuple[Any, ...]]
Row = dict[str, Any]


@asynccontextmanager
async def connect(url: str) -> AsyncIterator[Connection]:
    """Autocommit; JSON numbers with a fraction as ``Decimal``."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        set_json_loads(partial(json.loads, parse_float=Decimal), connection)
        yield connection


@asynccontextmanager
async def acting(db: Connection, user: str | None = None, role: str = "authenticated") -> AsyncIterator[None]:
    """One transaction as this role; with ``user`` as its JWT's ``sub``."""
    claims = {"role": role} if user is None else {"role": role, "sub": user}
    async with db.transaction():
        await db.execute(
            "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
            [role, json.dumps(claims)],
        )
        yield
        # Within a transaction of the test's own these would outlive the savepoint.
        await db.execute(
            "select set_config('role', 'none', true), set_config('request.jwt.claims', '', true)"
        )


async def value(db: Connection, query: str, *args: Any) -> Any:
    """The first column of the first row."""
    row = await (await db.execute(query, args)).fetchone()
    assert row is not None
    return row[0]


async def column(db: Connection, query: str, *args: Any) -> list[Any]:
    return [row[0] for row in await (await db.execute(query, args)).fetchall()]


async def call(db: Connection, function: str, user: str | None = None, **arguments: Any) -> Any:
    """``select function(name => …)`` as this user, or as whoever ``db`` is."""
    named = ", ".join(f'"{name}" => %s' for name in arguments)
    query = f"select public.{function}({named})"
    if user is None:
        return await value(db, query, *arguments.values())
    async with acting(db, user):
        return await value(db, query, *arguments.values())


async def sqlstate(db: Connection, query: str, *args: Any) -> str:
    """The error of a statement that must fail; in a transaction it goes on behind a savepoint."""
    try:
        async with db.transaction():
            await db.execute(query, args)
    except psycopg.Error as error:
        return error.sqlstate or "?"
    raise AssertionError(f"went through: {query}")


def digest_of(rows: Iterable[Row]) -> Digest:
    """As realtime_toolkit.model computes it, of rows as ``sync_scope`` and ``rows_scope`` give them."""
    total = Digest()
    for row in rows:
        total = total.plus(row_hash(row["table"], row["key"], row["version"], int(row["changed_in"])))
    return total


def as_digest(data: Row) -> Digest:
    return Digest(data["count"], int(data["total"]))


def new_id() -> str:
    return str(uuid.uuid4())

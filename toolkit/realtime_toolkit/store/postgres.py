"""The statements over psycopg."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import set_json_loads

from realtime_toolkit.errors import (
    ConfigError,
    InputError,
    StoreClosed,
    StoreError,
    StoreUnavailable,
    ToolkitError,
    Unauthorized,
    Unreachable,
)
from realtime_toolkit.exact import loads
from realtime_toolkit.store.failures import error_for, one_line
from realtime_toolkit.store.statements import PAGE, Filter, Store
from realtime_toolkit.tasks import Deadline, NotOursError, theirs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from realtime_toolkit.model import Row

_AS_USER = "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)"
_OPERATORS = {"eq": sql.SQL("="), "gte": sql.SQL(">="), "lt": sql.SQL("<")}
_TRIES = 8
"""Addresses of one name, or hosts of one address, that may be tried one after the other."""


class PostgresStore(Store):
    """Over a few psycopg connections, opened when they are needed and kept.

    ``as_user`` are JWT claims (``{"sub": …}``; ``role`` is ``authenticated`` unless they say otherwise):
    each call then runs in a transaction of that role, so that RLS decides. ``timeout`` seconds is the
    longest a statement may take. Nothing is prepared on the server, so that a transaction pooler (Supabase's port
    6543, PgBouncer) will do; where there is none, ``prepare_threshold=5`` saves a tenth (measured: 40 µs of 400
    for a chunk).

    A pool that connects in the background (psycopg_pool's) would turn a refused connection into a
    timeout; here the caller hears at once, and why.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        as_user: Mapping[str, Any] | None = None,
        size: int = 4,
        timeout: float = 15.0,
        connect_timeout: float = 5.0,
        prepare_threshold: int | None = None,
    ) -> None:
        self.where = _postgres_address(conninfo)
        self._conninfo = conninfo
        self._as_user = None if as_user is None else _claims(as_user)
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._prepare_threshold = prepare_threshold
        self._slots = asyncio.Semaphore(size)
        self._idle: list[psycopg.AsyncConnection[Any]] = []
        self._closed = False

    def __repr__(self) -> str:
        role = "" if self._as_user is None else f" as {self._as_user[0]}"
        return f"<PostgresStore {self.where}{role}{', closed' if self._closed else ''}>"

    async def __aenter__(self) -> Self:
        """Connect once, so that a wrong address or password shows here."""
        self._closed = False
        async with self._connection():
            return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        while self._idle:
            with suppress(psycopg.Error, OSError):
                await self._idle.pop().close()

    async def _run(self, function: str, args: Mapping[str, Any]) -> bytes:
        named = [sql.SQL("{} => %s").format(sql.Identifier(name)) for name in args]
        query = sql.SQL("select public.{}({})::text").format(
            sql.Identifier(function), sql.SQL(", ").join(named)
        )
        text = (await self._fetch(function, query, [_untyped(arg) for arg in args.values()]))[0]
        return b"null" if text is None else str(text).encode()

    async def _insert(self, table: str, row: Row) -> Row | None:
        query = sql.SQL(
            "insert into {} as t ({}) values ({}) on conflict do nothing returning to_jsonb(t)"
        ).format(
            sql.Identifier("public", table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join([sql.Placeholder()] * len(row)),
        )
        made = await self._fetch(f"insert into {table}", query, [_untyped(value) for value in row.values()])
        return made[0] if made else None

    async def _select(
        self,
        table: str,
        *where: Filter,
        columns: Sequence[str] = (),
        order: str | None = None,
        limit: int = PAGE,
    ) -> list[Row]:
        wanted = sql.SQL(", ").join(map(sql.Identifier, columns)) if columns else sql.SQL("*")
        ordered = sql.SQL("order by {}").format(sql.Identifier(order)) if order else sql.SQL("")
        query = sql.SQL("select to_jsonb(t) from (select {} from {} where {} {} limit {}) as t").format(
            wanted, sql.Identifier("public", table), _condition(where), ordered, limit
        )
        return await self._fetch(f"select from {table}", query, _values(where))

    async def _delete(self, table: str, *where: Filter) -> int:
        query = sql.SQL("delete from {} where {} returning true").format(
            sql.Identifier("public", table), _condition(where)
        )
        return len(await self._fetch(f"delete from {table}", query, _values(where)))

    async def _fetch(self, what: str, query: sql.Composed, values: list[Any]) -> list[Any]:
        """The first column of every row."""
        what = f"{what} at {self.where}"
        async with self._connection() as connection:
            with self._deadline(connection) as late:
                try:
                    return await theirs(lambda: self._execute(connection, query, values), "the statement")
                except Exception as error:
                    raise _query_error(what, error, late(), values) from error

    async def _execute(
        self, connection: psycopg.AsyncConnection[Any], query: sql.Composed, values: list[Any]
    ) -> list[Any]:
        if self._as_user is None:
            cursor = await connection.execute(query, values)
            return [row[0] for row in await cursor.fetchall()]
        async with connection.transaction():
            await self._become(connection)
            cursor = await connection.execute(query, values)
            return [row[0] for row in await cursor.fetchall()]

    async def _become(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """For this transaction only, so that the next one of a pooler's session is not the user's."""
        assert self._as_user is not None
        try:
            await connection.execute(_AS_USER, self._as_user)
        except psycopg.errors.InvalidParameterValue as error:
            raise ConfigError(f"Postgres at {self.where} has no role {self._as_user[0]!r}") from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        async with self._slots:
            connection = await self._idle_connection() or await self._connect()
            try:
                yield connection
            finally:
                clean = connection.info.transaction_status == pq.TransactionStatus.IDLE
                if clean and not self._closed:
                    self._idle.append(connection)
                else:
                    await connection.close()

    async def _idle_connection(self) -> psycopg.AsyncConnection[Any] | None:
        """The connection used last, passing over those the server has closed since."""
        if self._closed:
            raise StoreClosed(f"the store for {self.where} is closed")
        while self._idle:
            connection = self._idle.pop()
            with suppress(psycopg.Error, OSError):
                connection.pgconn.consume_input()  # a farewell, if there is one …
                connection.pgconn.consume_input()  # … and the end of the stream behind it
                return connection
            await connection.close()
        return None

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        seconds = max(2, round(self._connect_timeout))  # libpq's least

        def connect() -> Any:
            return psycopg.AsyncConnection.connect(
                self._conninfo,
                autocommit=True,
                prepare_threshold=self._prepare_threshold,
                connect_timeout=seconds,
            )

        try:
            async with Deadline(_TRIES * seconds):  # the look-up of a name has no limit of its own
                connection: psycopg.AsyncConnection[Any] = await theirs(connect, "connecting")
        except Exception as error:
            raise _connect_error(self.where, error) from error
        set_json_loads(loads, connection)
        return connection

    @contextmanager
    def _deadline(self, connection: psycopg.AsyncConnection[Any]) -> Iterator[Callable[[], bool]]:
        """Hang up when the time is over; a dead link answers no cancel request either."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._timeout, _hang_up, connection)
        try:
            yield lambda: loop.time() >= timer.when()
        finally:
            timer.cancel()


def _hang_up(connection: psycopg.AsyncConnection[Any]) -> None:
    with (
        suppress(OSError, psycopg.Error),
        socket.fromfd(connection.pgconn.socket, socket.AF_INET, socket.SOCK_STREAM) as link,
    ):
        link.shutdown(socket.SHUT_RDWR)


def _query_error(what: str, error: Exception, late: bool, sent: Sequence[Any]) -> ToolkitError:
    if isinstance(error, MemoryError | ToolkitError):
        raise error
    if isinstance(error, psycopg.Error) and (code := error.sqlstate) is not None:
        return error_for(code, what, error.diag.message_primary or str(error), sent)
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | OSError):
        detail = "no answer in time" if late else _gist(error)
        return StoreUnavailable(f"{what}: {detail}; it may have happened or not")
    if isinstance(error, NotOursError):
        return StoreUnavailable(f"{what}: {error}; it may have happened or not")
    if isinstance(error, psycopg.DataError | UnicodeEncodeError):
        return InputError(f"{what}: {one_line(str(error))}")
    return StoreError(f"{what}: {type(error).__name__}: {one_line(str(error))}")


def _connect_error(where: str, error: Exception) -> ToolkitError:
    """libpq gives no SQLSTATE for a connection that failed, only a text that begins with FATAL."""
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, TimeoutError):
        return Unreachable(f"Postgres at {where} cannot be reached: no answer in time")
    detail, text = _gist(error), str(error)
    if re.search("authentication failed|no password supplied|pg_hba.conf|role .* does not exist", text):
        return Unauthorized(f"Postgres at {where}: {detail}")
    if re.search("database .* does not exist|invalid .*value", text):
        return ConfigError(f"Postgres at {where}: {detail}")
    if "FATAL" in text:  # starting up, shutting down, too many connections
        return StoreUnavailable(f"Postgres at {where}: {detail}")
    return Unreachable(f"Postgres at {where} cannot be reached: {detail}")


def _gist(error: Exception) -> str:
    """What libpq says, without what it tried and what it guesses."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return one_line(lines[0].rpartition("failed: ")[2])


def _postgres_address(conninfo: str) -> str:
    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:  # its text may quote a part of the password
        given = {"port": "malformed"}
    port = str(given.get("port") or 5432)
    if not re.fullmatch(r"\d+(,\d+)*", port):
        raise ConfigError("the Postgres address is not postgresql://user:password@host:5432/db")
    return f"{given.get('host') or 'localhost'}:{port}"


def _claims(claims: Mapping[str, Any]) -> list[str]:
    role = str(claims.get("role") or "authenticated")
    return [role, json.dumps({"role": role, **claims})]


def _untyped(value: Any) -> Any:
    """As text, which takes the type of the argument or column; lists of text are ``text[]`` already."""
    if value is None or isinstance(value, list):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _condition(where: Sequence[Filter]) -> sql.Composed:
    return sql.SQL(" and ").join(
        sql.SQL("{} {} %s").format(sql.Identifier(column), _OPERATORS[operator])
        for column, operator, _ in where
    )


def _values(where: Sequence[Filter]) -> list[Any]:
    return [_untyped(value) for _, _, value in where]

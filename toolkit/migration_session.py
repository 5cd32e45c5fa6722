"""One database session that migrates: connecting, the lock that keeps two runs apart, the history table.

The history is the Supabase CLI's: ``supabase_migrations.schema_migrations(version, statements, name)``.
"""

from __future__ import annotations

import os
import random
import secrets
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as pg

from toolkit.errors import ConfigError, MigrationError, Unauthorized, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg.rows import TupleRow

    Connection = psycopg.Connection[TupleRow]

Notice = Callable[[str], None] if TYPE_CHECKING else Any
"""Takes one line of progress (a wait, a retry, a file begun, a NOTICE of the server)."""

LOCK = (0x72746D69, 0x67726174)
"""Key of the session advisory lock ("rtmi", "grat"); advisory locks are per database already."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A row of the history; ``statements`` is ``None`` where a tool recorded the version alone."""

    version: str
    name: str
    statements: tuple[str, ...] | None


def connect(dsn: str, *, wait: float = 0.0, notice: Notice = lambda _: None) -> Connection:
    """An autocommit session. Where the server has no free connection, tries again for ``wait`` seconds.

    Raises :class:`Unreachable`, :class:`Unauthorized` or :class:`ConfigError` in one line without the password.
    """
    deadline = time.monotonic() + wait
    while True:
        try:
            connection = psycopg.connect(
                dsn,
                autocommit=True,
                prepare_threshold=None,
                connect_timeout=10,
                client_encoding="utf8",
                application_name=_application_name(),
            )
        except psycopg.Error as error:
            if not _is_full(error) or time.monotonic() >= deadline:
                raise _cannot_connect(dsn, error) from None
            time.sleep(random.uniform(0.05, 0.5))
        else:
            connection.add_notice_handler(lambda d: notice(f"{d.severity}: {d.message_primary}"))
            return connection


def _application_name() -> str:
    return f"realtime-toolkit migrate {socket.gethostname()[:24]}:{os.getpid()}"


def _is_full(error: psycopg.Error) -> bool:
    text = str(error)  # libpq gives no SQLSTATE for a refused connection
    return any(
        sign in text for sign in ("too many clients", "remaining connection slots", "too many connections")
    )


def _cannot_connect(dsn: str, error: psycopg.Error) -> ConfigError | Unauthorized | Unreachable:
    text = " ".join(str(error).split())
    where = address(dsn)
    if "password" in text or "authentication failed" in text or "no pg_hba.conf entry" in text:
        return Unauthorized(f"{where} refuses this user: {text}")
    if isinstance(error, psycopg.ProgrammingError) or "does not exist" in text:
        return ConfigError(f"cannot use the database address of {where}: {text}")
    return Unreachable(f"no database answers at {where}: {text}")


def address(dsn: str) -> str:
    """``host:port/database`` of a connection string, for messages; never the user or the password."""
    try:
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return "the given address"
    return f"{parts.get('host') or 'localhost'}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"


# -- the lock -----------------------------------------------------------------------------------------

_HOLDER = """
select l.pid, coalesce(nullif(a.application_name, ''), 'unknown'), coalesce(host(a.client_addr), 'local'),
       coalesce(extract(epoch from now() - a.backend_start)::int, 0)
from pg_locks l left join pg_stat_activity a on a.pid = l.pid
where l.locktype = 'advisory' and l.granted and l.objsubid = 2 and (l.classid, l.objid) = (%s, %s)
  and l.database = (select oid from pg_database where datname = current_database())
"""
_HOLDS = """
select exists (select from pg_locks where locktype = 'advisory' and granted and objsubid = 2
  and pid = pg_backend_pid() and (classid, objid) = (%s, %s)
  and database = (select oid from pg_database where datname = current_database()))
"""


@contextmanager
def exclusive(connection: Connection, *, wait: float, notice: Notice) -> Iterator[None]:
    """Hold the migration lock. Raises :class:`MigrationError` naming the holder after ``wait`` seconds.

    Polls instead of queueing: a queued ``pg_advisory_lock`` holds a snapshot for as long as it waits, and
    CREATE INDEX CONCURRENTLY in the run that has the lock would wait for that snapshot in turn.
    """
    deadline, told = time.monotonic() + wait, False
    while not _scalar(connection, "select pg_try_advisory_lock(%s, %s)", LOCK):
        if time.monotonic() >= deadline:
            raise MigrationError(
                f"another migration run has the lock: {_holder(connection)}; waited {wait:g} s"
            )
        if not told:
            notice(f"waiting up to {wait:g} s for the migration lock, held by {_holder(connection)}")
            told = True
        time.sleep(random.uniform(0.05, 0.25))
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("select pg_advisory_unlock(%s, %s)", LOCK)


def _holder(connection: Connection) -> str:
    row = connection.execute(_HOLDER, LOCK).fetchone()
    if row is None:
        return "a run that has just ended"
    return f"{row[1]} (backend {row[0]}, from {row[2]}, connected for {row[3]} s)"


def require_lock(connection: Connection) -> None:
    """Raise :class:`ConfigError` where this transaction runs in a session that has not got the lock."""
    if not _scalar(connection, _HOLDS, LOCK):
        raise ConfigError(_POOLED.format("the migration lock stayed behind in another server session"))


# -- poolers ------------------------------------------------------------------------------------------

_POOLED = (
    "this address leads to a transaction-mode pooler ({}); migrations need one session from start to end: "
    "use the direct connection or the session pooler (port 5432)"
)


def refuse_transaction_pooler(dsn: str, connection: Connection) -> None:
    """Raise :class:`ConfigError` if the session's server process changes between transactions.

    A pooler makes up its own process id for the client, so an equal one means that there is none. Behind
    one, a second client asks for a server process: in transaction mode it is handed ours, or ours moves on.
    """
    backend = _scalar(connection, "select pg_backend_pid()")
    if backend == connection.info.backend_pid:
        return
    port = connection.info.port
    if port == 6543:
        raise ConfigError(_POOLED.format("port 6543"))
    mark = secrets.token_hex(8)
    connection.execute("select set_config('realtime_toolkit.session', %s, false)", (mark,))
    for _ in range(3):
        with connect(dsn) as other, other.transaction():
            taken = _scalar(other, "select pg_backend_pid()") == backend
            now = connection.execute(
                "select pg_backend_pid(), current_setting('realtime_toolkit.session', true)"
            ).fetchone()
        if taken or now != (backend, mark):
            raise ConfigError(_POOLED.format("its server process changes between transactions"))


# -- the history --------------------------------------------------------------------------------------

_CREATE = (
    "create schema if not exists supabase_migrations",
    "create table if not exists supabase_migrations.schema_migrations (version text not null primary key)",
    "alter table supabase_migrations.schema_migrations add column if not exists statements text[]",
    "alter table supabase_migrations.schema_migrations add column if not exists name text",
)
# By way of jsonb, because a history made by an old CLI may have the version alone.
_READ = """
select h.version, coalesce(to_jsonb(h) ->> 'name', ''), to_jsonb(h) -> 'statements'
from supabase_migrations.schema_migrations h order by h.version collate "C"
"""
_INSERT = "insert into supabase_migrations.schema_migrations(version, name, statements) values (%s, %s, %s)"


def create_history(connection: Connection) -> None:
    with connection.transaction():
        connection.execute("set local client_min_messages = warning")
        connection.execute("set local lock_timeout = '10s'")
        for statement in _CREATE:
            connection.execute(statement)


def read_history(connection: Connection) -> tuple[Recorded, ...]:
    """The rows in version order; none if the table is not there yet."""
    if _scalar(connection, "select to_regclass('supabase_migrations.schema_migrations')") is None:
        return ()
    rows = connection.execute(_READ).fetchall()
    return tuple(
        Recorded(version, name, None if texts is None else tuple(texts)) for version, name, texts in rows
    )


def record(connection: Connection, version: str, name: str, statements: list[str]) -> None:
    connection.execute(_INSERT, (version, name, statements))


def reset(connection: Connection) -> None:
    """Back to the session's own settings, whatever the file before did to them; keeps the advisory lock."""
    connection.execute("reset session authorization")
    connection.execute("reset role")
    connection.execute("reset all")
    connection.execute("set standard_conforming_strings = on")


def _scalar(connection: Connection, query: Any, args: tuple[Any, ...] = ()) -> Any:
    row = connection.execute(query, args or None).fetchone()
    return None if row is None else row[0]


RETRYABLE = (pg.LockNotAvailable, pg.DeadlockDetected, pg.SerializationFailure)

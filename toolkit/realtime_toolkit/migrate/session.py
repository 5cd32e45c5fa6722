"""One database session that migrates: connecting, the lock that keeps two runs apart, poolers refused."""

from __future__ import annotations

import os
import random
import re
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg

from realtime_toolkit.errors import ConfigError, MigrationError, ToolkitError, Unauthorized, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.rows import TupleRow

    Connection = psycopg.Connection[TupleRow]

Notice = Callable[[str], None]
"""Takes one line of progress at a time: a wait, a retry, a file begun, a NOTICE of the server."""

LOCK = (0x72746D69, 0x67726174)
"""Key of the session advisory lock ("rtmi", "grat"); advisory locks are per database already."""

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1", ""})


def silent(_: str) -> None:
    """The notice that nobody reads."""


# -- connecting ---------------------------------------------------------------------------------------


def connect(dsn: str, *, wait: float = 0.0, notice: Notice = silent) -> Connection:
    """An autocommit session. Where the server has no free connection, tries again for ``wait`` seconds.

    Raises :class:`Unreachable`, :class:`Unauthorized` or :class:`ConfigError`, never with the password.
    """
    deadline = time.monotonic() + wait
    if _is_shifted(dsn):
        raise ConfigError(
            "the database address cannot be read: an @ or a / of the password must be written as %40 or %2F"
        )
    while True:
        try:
            connection = _open(dsn)
        except psycopg.Error as error:
            if not _is_full(error) or time.monotonic() >= deadline:
                raise _cannot_connect(dsn, error) from None
            time.sleep(random.uniform(0.05, 0.5))
        else:
            connection.add_notice_handler(lambda d: notice(f"{d.severity}: {d.message_primary}"))
            return connection


def _open(dsn: str) -> Connection:
    return psycopg.connect(
        dsn,
        autocommit=True,
        prepare_threshold=None,
        connect_timeout=10,
        client_encoding="utf8",
        application_name=f"realtime-toolkit migrate {socket.gethostname()[:24]}:{os.getpid()}",
    )


def _is_full(error: psycopg.Error) -> bool:
    text = str(error)  # libpq gives no SQLSTATE for a refused connection
    return any(
        sign in text for sign in ("too many clients", "remaining connection slots", "too many connections")
    )


def _cannot_connect(dsn: str, error: psycopg.Error) -> ToolkitError:
    text = " ".join(str(error).split())
    where = address(dsn)
    if any(sign in text for sign in ("password", "authentication failed", "no pg_hba.conf entry")):
        return Unauthorized(f"{where} refuses this user: {text}")
    if isinstance(
        error, psycopg.ProgrammingError
    ):  # libpq quotes what it cannot read, and the password is in it
        unquoted = re.sub('".*"', '"…"', text)
        return ConfigError(f"cannot use the database address: {unquoted}")
    if "does not exist" in text:
        return ConfigError(f"cannot use the database address of {where}: {text}")
    return Unreachable(f"no database answers at {where}: {text}")


def address(dsn: str) -> str:
    """``host:port/database`` of a connection string, for messages; never the user or the password."""
    try:
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return "the given address"
    if _is_shifted(dsn):
        return "the given address"
    return f"{parts.get('host') or 'localhost'}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"


def _is_shifted(dsn: str) -> bool:
    """Whether a bare ``@`` or ``/`` in the password makes its rest what libpq takes for the host and the database."""
    rest = dsn.partition("://")[2]
    user, at, where = rest.partition("@")
    if not at or "/" in user:
        where = rest
    return "@" in where.partition("?")[0]


def is_local(dsn: str) -> bool:
    """Whether every host of a connection string is this machine (loopback or a Unix socket)."""
    try:
        hosts = str(psycopg.conninfo.conninfo_to_dict(dsn).get("host") or "").split(",")
    except psycopg.ProgrammingError:
        return False
    return all(host in LOCAL_HOSTS or host.startswith(("/", "@")) for host in hosts)


@contextmanager
def translated(dsn: str) -> Iterator[None]:
    """Turn what psycopg raises outside a migration's own statements into the toolkit's errors."""
    try:
        yield
    except psycopg.Error as error:
        text = " ".join((error.diag.message_primary or str(error)).split())
        if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
            raise Unreachable(f"lost the connection to {address(dsn)}: {text}") from None
        if error.sqlstate == "42501":
            raise Unauthorized(f"{address(dsn)}: {text}") from None
        raise MigrationError(f"{address(dsn)}: {text} ({error.sqlstate})") from None


def scalar(connection: Connection, query: str, args: tuple[Any, ...] = ()) -> Any:
    row = connection.execute(query.encode(), args or None).fetchone()
    return None if row is None else row[0]


def reset(connection: Connection) -> None:
    """Back to the session's own settings, whatever the file before did to them; the lock stays."""
    connection.execute("reset session authorization")
    connection.execute("reset role")
    connection.execute("reset all")
    connection.execute("set standard_conforming_strings = on")


# -- the lock -----------------------------------------------------------------------------------------

_OURS = """l.locktype = 'advisory' and l.granted and l.objsubid = 2 and (l.classid, l.objid) = (%s, %s)
  and l.database = (select oid from pg_catalog.pg_database where datname = current_database())"""
_HOLDER = f"""
select l.pid, coalesce(nullif(a.application_name, ''), 'an unnamed client'),
       coalesce(host(a.client_addr), 'local'), coalesce(extract(epoch from now() - a.backend_start)::int, 0)
from pg_catalog.pg_locks l left join pg_catalog.pg_stat_activity a on a.pid = l.pid where {_OURS}
"""
_HOLDS = f"select exists (select from pg_catalog.pg_locks l where {_OURS} and l.pid = pg_backend_pid())"


@contextmanager
def exclusive(
    connection: Connection,
    *,
    wait: float,
    notice: Notice = silent,
    unless: Callable[[], bool] = lambda: False,
) -> Iterator[bool]:
    """Hold the migration lock; yields false, without it, as soon as ``unless()`` says there is no need.

    Raises :class:`MigrationError` naming the holder after ``wait`` seconds. Polls instead of queueing: a
    queued ``pg_advisory_lock`` keeps a snapshot for as long as it waits, and CREATE INDEX CONCURRENTLY in
    the run that has the lock would wait for that snapshot in turn.
    """
    deadline, told = time.monotonic() + wait, False
    while not scalar(connection, "select pg_try_advisory_lock(%s, %s)", LOCK):
        if unless():
            yield False
            return
        if time.monotonic() >= deadline:
            raise MigrationError(
                f"another migration run has the lock: {_holder(connection)}; waited {wait:g} s"
            )
        if not told:
            notice(f"waiting up to {wait:g} s for the migration lock, held by {_holder(connection)}")
            told = True
        time.sleep(random.uniform(0.05, 0.25))
    try:
        yield True
    finally:
        with suppress(psycopg.Error):  # a lost connection has given the lock back
            connection.execute("select pg_advisory_unlock(%s, %s)", LOCK)


def _holder(connection: Connection) -> str:
    row = connection.execute(_HOLDER.encode(), LOCK).fetchone()
    if row is None:
        return "a run that has just ended"
    return f"{row[1]} (backend {row[0]}, from {row[2]}, connected for {row[3]} s)"


def require_lock(connection: Connection) -> None:
    """Raise :class:`ConfigError` where this transaction runs in a session that has not got the lock."""
    if not scalar(connection, _HOLDS, LOCK):
        raise ConfigError(_POOLED.format("the migration lock was left behind in another server process"))


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
    backend = scalar(connection, "select pg_backend_pid()")
    if backend == connection.info.backend_pid:
        return
    if connection.info.port == 6543:
        raise ConfigError(_POOLED.format("port 6543"))
    mark = secrets.token_hex(8)
    connection.execute("select set_config('realtime_toolkit.follow.session', %s, false)", (mark,))
    for _ in range(3):
        with closing(connect(dsn)) as other, other.transaction():
            taken = scalar(other, "select pg_backend_pid()") == backend
            now = connection.execute(
                "select pg_backend_pid(), current_setting('realtime_toolkit.follow.session', true)"
            ).fetchone()
        if taken or now != (backend, mark):
            raise ConfigError(_POOLED.format("its server process changes between transactions"))

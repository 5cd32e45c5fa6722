"""A Postgres given by its address: the stack gets a database of its own in it, and drops it afterwards.

Roles belong to the whole cluster; those that Supabase has are made where they are missing, and stay.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from realtime_toolkit.errors import ConfigError, StackError, Unreachable
from realtime_toolkit.stack.postgres.template import apply_baseline, apply_migrations

if TYPE_CHECKING:
    from pathlib import Path

    from realtime_toolkit.stack.postgres.sources import Place

Connection = psycopg.AsyncConnection[tuple[Any, ...]]

OLDEST = 15
_TRIES = 20
_PAUSE = 0.05


class External:
    """``url`` is of any role that may create databases and replicate.

    Raises :class:`~realtime_toolkit.errors.Unreachable` where nobody answers and
    :class:`~realtime_toolkit.errors.ConfigError` for a server that cannot serve.
    """

    def __init__(self, url: str, *, migrations: Path | None) -> None:
        self._url = url
        self._migrations = migrations
        self._name: str | None = None

    @property
    def admin_url(self) -> str:
        return self.database_url

    @property
    def database_url(self) -> str:
        assert self._name is not None
        return with_database(self._url, self._name)

    @property
    def rest_url(self) -> str:
        return self.database_url

    async def start(self, place: Place) -> None:
        name = f"stack_{place.claim.name}"
        async with await connect(self._url) as db:
            await _require_fit(db)
            place.claim.note(databases=[{"url": self._url, "name": name}])
            self._name = name
            await create_database(db, name)
        await prepare(self.database_url, self.database_url, self._migrations)

    async def stop(self) -> None:
        name, self._name = self._name, None
        if name is not None:
            await drop_database(self._url, name)

    async def ended(self) -> str:
        await asyncio.Event().wait()  # whether it lives is its owner's business
        return ""


async def prepare(admin_url: str, database_url: str, migrations: Path | None) -> None:
    """Make a fresh database what a migrated project is."""
    try:
        await apply_baseline(admin_url)
    except psycopg.Error as error:
        raise StackError(f"the database cannot be prepared: {_line(error)}") from error
    if migrations is not None:
        await apply_migrations(database_url, migrations)


async def connect(url: str) -> Connection:
    """Raises :class:`Unreachable` or, where the role or the password is refused, :class:`ConfigError`."""
    try:
        return await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        kind = ConfigError if "authentication failed" in str(error) else Unreachable
        raise kind(f"cannot connect to {shown(url)}: {_line(error)}") from None
    except psycopg.ProgrammingError as error:
        raise ConfigError(f"not a database address: {_line(error)}") from None


async def _require_fit(db: Connection) -> None:
    where = shown_connection(db)
    if db.info.server_version // 10000 < OLDEST:
        raise ConfigError(
            f"{where} runs Postgres {db.info.server_version // 10000}; {OLDEST} or newer is needed"
        )
    found = await db.execute(
        "select current_setting('wal_level'), rolreplication or rolsuper, rolcreatedb or rolsuper, rolname"
        " from pg_roles where rolname = current_user"
    )
    row = await found.fetchone()
    assert row is not None
    wal_level, replicates, creates, role = row
    if wal_level != "logical":
        raise ConfigError(f"{where} has wal_level = {wal_level}; set it to logical and restart the server")
    if not replicates:
        raise ConfigError(f"role {role} on {where} may not replicate: alter role {role} replication")
    if not creates:
        raise ConfigError(f"role {role} on {where} may not create databases: alter role {role} createdb")


async def create_database(db: Connection, name: str, template: str | None = None) -> None:
    """``template0`` unless told otherwise; tried again while somebody else is copying the same one."""
    statement = sql.SQL("create database {} template {}").format(
        sql.Identifier(name), sql.Identifier(template or "template0")
    )
    statement += sql.SQL(" encoding 'UTF8'") if template is None else sql.SQL(" strategy file_copy")
    for attempt in range(_TRIES):
        try:
            await db.execute(statement)
        except psycopg.errors.ObjectInUse:
            if attempt == _TRIES - 1:
                raise
            await asyncio.sleep(_PAUSE)
        else:
            return


async def drop_database(url: str, name: str) -> None:
    """With the slots that hold it, and whoever is still connected."""
    async with await connect(url) as db:
        await db.execute(
            "select pg_terminate_backend(active_pid) from pg_replication_slots"
            " where database = %s and active_pid is not null",
            [name],
        )
        for attempt in range(_TRIES):
            await db.execute(
                "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
                " where database = %s and active_pid is null and not temporary",
                [name],
            )
            try:
                statement = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
                await db.execute(statement)
            except psycopg.errors.ObjectInUse:
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(_PAUSE)
            else:
                return


def drop_recorded(facts: dict[str, Any]) -> None:
    """For a sweep: the databases of a stack that was killed."""
    for item in facts.get("databases", []):
        asyncio.run(drop_database(item["url"], item["name"]))


def with_database(url: str, name: str) -> str:
    """The same address, another database."""
    if "://" not in url:
        return make_conninfo(url, dbname=name)
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"/{name}"))


def shown(url: str) -> str:
    """For messages: without the password."""
    known = conninfo_to_dict(url)
    return f"{known.get('user', '')}@{known.get('host', 'localhost')}:{known.get('port', 5432)}"


async def server_version(url: str) -> str:
    """As the server says it: ``17.10``, with what a distribution adds."""
    async with await connect(url) as db:
        return db.info.parameter_status("server_version") or "of an unknown version"


def shown_connection(db: Connection) -> str:
    return f"{db.info.host}:{db.info.port}"


def _line(error: psycopg.Error) -> str:
    return " ".join(str(error).split())

"""Copies of a migrated database on the same server, each as fast as copying its files."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from realtime_toolkit.stack.postgres.external import (
    External,
    connect,
    create_database,
    drop_database,
    prepare,
    with_database,
)

if TYPE_CHECKING:
    from pathlib import Path

    from realtime_toolkit.stack.postgres.sources import Place, Source

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


class Trunk:
    """What branches are copied from: a database that nobody is connected to, made when first needed."""

    def __init__(self, source: Source, migrations: Path | None, place: Place) -> None:
        self.source = source
        self._migrations = migrations
        self._claim = place.claim
        self._making = asyncio.Lock()
        self._template: str | None = None

    @property
    def lasting(self) -> bool:
        """Whether the server outlives the stack, so that what is made there must be dropped."""
        return isinstance(self.source, External)

    async def template(self) -> str:
        async with self._making:
            if self._template is None:
                self._template = await self._make()
        return self._template

    async def _make(self) -> str:
        name = f"trunk_{self._claim.name}"
        source = self.source
        if self.lasting:
            self._claim.note(databases=[{"url": source.admin_url, "name": name}])
        async with await connect(source.admin_url) as db:
            await create_database(db, name)
        await prepare(
            with_database(source.admin_url, name), with_database(source.database_url, name), self._migrations
        )
        return name

    async def close(self) -> None:
        name, self._template = self._template, None
        if name is not None and self.lasting:
            await drop_database(self.source.admin_url, name)


class Branch:
    """A source over one copy."""

    def __init__(self, trunk: Trunk) -> None:
        self._trunk = trunk
        self._name: str | None = None

    @property
    def admin_url(self) -> str:
        return self._url(self._trunk.source.admin_url)

    @property
    def database_url(self) -> str:
        return self._url(self._trunk.source.database_url)

    @property
    def rest_url(self) -> str:
        return self._url(self._trunk.source.rest_url)

    def _url(self, url: str) -> str:
        assert self._name is not None
        return with_database(url, self._name)

    async def start(self, place: Place) -> None:
        template = await self._trunk.template()
        name = f"branch_{place.claim.name}"
        if self._trunk.lasting:
            place.claim.note(databases=[{"url": self._trunk.source.admin_url, "name": name}])
        async with await connect(self._trunk.source.admin_url) as db:
            self._name = name
            await create_database(db, name, template)
            await _copy_properties(db, template, name)

    async def stop(self) -> None:
        name, self._name = self._name, None
        if name is not None:
            await drop_database(self._trunk.source.admin_url, name)

    async def ended(self) -> str:
        return await self._trunk.source.ended()


async def _copy_properties(db: Connection, source: str, target: str) -> None:
    """Owner and settings belong to the cluster's catalogue, so copying a database leaves them out."""
    found = await db.execute("select datdba::regrole::text from pg_database where datname = %s", [source])
    for (owner,) in await found.fetchall():
        await db.execute(
            sql.SQL("alter database {} owner to {}").format(sql.Identifier(target), sql.SQL(owner))
        )
    found = await db.execute(
        "select s.setrole::regrole::text, s.setrole <> 0, unnest(s.setconfig)"
        " from pg_database d join pg_db_role_setting s on s.setdatabase = d.oid where d.datname = %s",
        [source],
    )
    for role, for_role, setting in await found.fetchall():
        name, _, value = setting.partition("=")
        whose = sql.SQL("role {} in database {}") if for_role else sql.SQL("{}database {}")
        await db.execute(
            sql.SQL("alter {} set {} = {}").format(
                whose.format(sql.SQL(role if for_role else ""), sql.Identifier(target)),
                sql.Identifier(name),
                _value(name, value),
            )
        )


def _value(name: str, value: str) -> sql.Composable:
    """Lists come quoted as they were written; as one literal they would be one name."""
    return sql.SQL(value) if name == "search_path" else sql.Literal(value)

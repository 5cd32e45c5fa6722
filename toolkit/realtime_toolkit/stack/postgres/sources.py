"""Where the stack's Postgres comes from: embedded, in a container, or given by its address."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from realtime_toolkit.stack.postgres import private
from realtime_toolkit.stack.postgres.binaries import DEFAULT, find_install
from realtime_toolkit.stack.postgres.places import cache_dir
from realtime_toolkit.stack.postgres.private import unprivileged_user
from realtime_toolkit.stack.postgres.process import wait_exit
from realtime_toolkit.stack.postgres.server import EmbeddedPostgres, version_of
from realtime_toolkit.stack.postgres.template import (
    Templates,
    apply_baseline,
    apply_migrations,
    baseline_key,
    copy_data,
    forget_origin,
)

if TYPE_CHECKING:
    from pathlib import Path

    from realtime_toolkit.stack.postgres.residue import Claim


_BASELINE_FILE = "baseline"


@dataclass(frozen=True, slots=True)
class Place:
    """What a source may use of the stack that starts it."""

    claim: Claim
    scratch: Path
    """A short, private folder for unix sockets and passing data."""
    password: str
    """For the roles that log in over TCP."""


class Source(Protocol):
    """A Postgres of the stack's own while it runs, migrated when :meth:`start` returns."""

    @property
    def admin_url(self) -> str:
        """As the role that owns what migrations do not: a superuser, where there is one."""

    @property
    def database_url(self) -> str:
        """As ``postgres``, or whoever migrates."""

    @property
    def rest_url(self) -> str:
        """For PostgREST: as a role that may become ``anon``, ``authenticated`` and ``service_role``."""

    async def start(self, place: Place) -> None:
        """Raises errors of :mod:`realtime_toolkit.errors`; :meth:`stop` is called all the same."""

    async def stop(self) -> None:
        """Leaves nothing behind that is not to be kept."""

    async def ended(self) -> str:
        """Waits until it is gone for good, and says why."""


class Embedded:
    """The server of :mod:`~realtime_toolkit.stack.postgres.binaries`, over a copy of a prepared data directory, or over ``data_dir``, which is kept."""

    def __init__(
        self, *, version: int | None, data_dir: Path | None, migrations: Path | None, superuser: bool
    ) -> None:
        self._version = version
        self._data_dir = data_dir
        self._migrations = migrations
        self._superuser = superuser
        self._server: EmbeddedPostgres | None = None

    @property
    def _running(self) -> EmbeddedPostgres:
        assert self._server is not None
        return self._server

    @property
    def admin_url(self) -> str:
        return self._running.admin_url

    @property
    def database_url(self) -> str:
        return self._running.database_url

    @property
    def rest_url(self) -> str:
        return self._running.rest_url

    async def start(self, place: Place) -> None:
        data = (self._data_dir or place.scratch) / "postgres"
        version = self._version or version_of(data) or DEFAULT
        install = await asyncio.to_thread(find_install, version, cache_dir())
        templates = Templates(install, cache_dir(), place.claim, place.scratch, superuser=self._superuser)
        copied = not data.exists()
        if copied:
            await asyncio.to_thread(_copy_whole, await self._template(templates), data)
        self._server = EmbeddedPostgres(
            install,
            data,
            password=place.password,
            durable=self._data_dir is not None,
            superuser=self._superuser,
            log=place.claim.path / "postgres.log",
            sockets=private.folder(place.scratch / "sockets", unprivileged_user()),
        )
        await self._server.start()
        place.claim.note_process(self._server.identity)
        if copied:
            await forget_origin(self.admin_url)
        if self._data_dir is not None:
            await self._bring_up_to_date(self._data_dir / _BASELINE_FILE, fresh=copied)

    async def _bring_up_to_date(self, mark: Path, *, fresh: bool) -> None:
        """Kept data may be from an earlier version of the toolkit, or from before the newest migration."""
        if not fresh and not _marked(mark):
            await apply_baseline(self.admin_url)
        await asyncio.to_thread(private.write_private, mark, baseline_key())
        if self._migrations is not None:
            await apply_migrations(self.database_url, self._migrations)

    async def _template(self, templates: Templates) -> Path:
        if self._migrations is None or self._data_dir is not None:
            return await templates.base()
        return await templates.migrated(self._migrations)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop()

    async def ended(self) -> str:
        process = self._running.process
        if process is not None:
            await wait_exit(process)
        return f"Postgres in {self._running.data} ended: {self._running.last_words()}"


def _marked(mark: Path) -> bool:
    return mark.exists() and mark.read_text() == baseline_key()


def _copy_whole(source: Path, target: Path) -> None:
    """All of it or nothing: a start that was killed half-way must not leave half a database."""
    making = target.with_name(f".{target.name}.new")
    shutil.rmtree(making, ignore_errors=True)
    try:
        copy_data(source, making)
        making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)

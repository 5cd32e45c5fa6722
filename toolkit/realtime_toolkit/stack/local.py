"""LocalStack: everything of the stack started, joined behind one port, and ended."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import psycopg
from starlette.applications import Starlette
from starlette.routing import Mount

from realtime_toolkit.errors import ConfigError, StackError
from realtime_toolkit.settings import mint_token
from realtime_toolkit.stack.auth.accounts import Accounts
from realtime_toolkit.stack.auth.endpoints import auth_app
from realtime_toolkit.stack.auth.keys import Keys
from realtime_toolkit.stack.front.gateway import Gateway, RestProxy
from realtime_toolkit.stack.front.serving import FrontServer, front_server
from realtime_toolkit.stack.postgres.binaries import RELEASES
from realtime_toolkit.stack.postgres.branches import Branch, Trunk
from realtime_toolkit.stack.postgres.container import Container, remove_recorded
from realtime_toolkit.stack.postgres.external import External, drop_recorded
from realtime_toolkit.stack.postgres.places import cache_dir, postgres_choice, state_dir
from realtime_toolkit.stack.postgres.private import write_private
from realtime_toolkit.stack.postgres.reserve import KEYS_FILE, listening, owned, scratch
from realtime_toolkit.stack.postgres.residue import Claim, records, sweep
from realtime_toolkit.stack.postgres.server import HOST
from realtime_toolkit.stack.postgres.sources import Embedded, Place, Source
from realtime_toolkit.stack.realtime.admin import admin_app
from realtime_toolkit.stack.realtime.app import RealtimeServer
from realtime_toolkit.stack.realtime.faults import Faults
from realtime_toolkit.stack.realtime.limits import Limits
from realtime_toolkit.stack.rest import PostgRest, find_postgrest
from realtime_toolkit.tasks import spawn

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine
    from types import TracebackType

A = TypeVar("A")
B = TypeVar("B")

_VERSIONS = {str(version): version for version in RELEASES}


class LocalStack:
    """A whole local Supabase: ``async with LocalStack(migrations=…) as stack``.

    ``postgres`` is ``"embedded"``, a version of that (``"15"`` to ``"18"``), ``"container"``, or the postgresql:// address
    of a server; told none, the variable ``TOOLKIT_POSTGRES`` decides, else it is embedded: the version that made
    ``data_dir``, else 17. ``data_dir`` keeps database and keys from one run to the next; without it all is thrown
    away. ``port`` 0 takes a free one, and only 127.0.0.1
    is ever listened on. ``superuser=False`` gives ``postgres`` just the rights it has on hosted Supabase.
    ``publish`` lets :func:`running_stack` find it from another process. ``hosts`` are names, beside those of this
    machine, under which it is asked (a tunnel's, a reverse proxy's); any other is refused.

    Raises :class:`~realtime_toolkit.errors.PortInUse`, :class:`~realtime_toolkit.errors.ConfigError`,
    :class:`~realtime_toolkit.errors.MigrationError` or :class:`~realtime_toolkit.errors.StackError`, and has then left
    nothing behind. What a stack that was killed left behind is removed by the next start.
    """

    def __init__(
        self,
        postgres: str | None = None,
        *,
        version: int | None = None,
        port: int = 0,
        data_dir: Path | str | None = None,
        migrations: Path | str | None = None,
        pace: Literal["fast", "genuine"] = "fast",
        seed: int = 0,
        limits: Limits | None = None,
        jwt_secret: str | None = None,
        jwt_expiry: int = 3600,
        superuser: bool = True,
        publish: bool = False,
        hosts: Collection[str] = (),
    ) -> None:
        self.faults = Faults(seed)
        """What goes wrong on demand; same seed, same schedule."""
        self._data_dir = None if data_dir is None else Path(data_dir).expanduser().absolute()
        self._migrations = None if migrations is None else Path(migrations)
        self._source = self._source_for(postgres, version, superuser)
        self._wanted_port = port
        self._pace = pace
        self._limits = limits or Limits()
        self._jwt_secret = jwt_secret
        self._jwt_expiry = jwt_expiry
        self._publish = publish
        self._hosts = frozenset(name.lower() for name in hosts)
        self._exits: AsyncExitStack | None = None
        self._keys: Keys | None = None
        self._given_keys: Keys | None = None
        self._trunk: Trunk | None = None
        self._port = 0
        self._failed: asyncio.Future[None] | None = None

    def _source_for(self, postgres: str | None, version: int | None, superuser: bool) -> Source:
        if postgres is None:
            postgres = postgres_choice() if version is None else "embedded"
        if postgres in _VERSIONS:
            postgres, version = "embedded", _VERSIONS[postgres]
        if postgres == "embedded":
            return Embedded(
                version=version, data_dir=self._data_dir, migrations=self._migrations, superuser=superuser
            )
        if self._data_dir is not None:
            raise ConfigError("only the embedded Postgres keeps its data in a folder")
        if postgres == "container":
            return Container(migrations=self._migrations, superuser=superuser)
        if postgres.startswith(("postgres://", "postgresql://")):
            return External(postgres, migrations=self._migrations)
        known = ", ".join(_VERSIONS)
        raise ConfigError(
            f"Postgres is one of {known}, 'embedded', 'container' or a postgresql:// address, not {postgres!r}"
        )

    def __repr__(self) -> str:
        """Without keys and passwords."""
        where = f"running at {self.url}" if self._keys is not None else "not running"
        kept = "" if self._data_dir is None else f", data in {self._data_dir}"
        return f"<LocalStack {where}{kept}>"

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
        return self._running_source.database_url

    @property
    def admin_url(self) -> str:
        """As the superuser ``supabase_admin``, for what ``postgres`` may not do on hosted Supabase."""
        return self._running_source.admin_url

    @property
    def _running_source(self) -> Source:
        if self._keys is None:
            raise StackError("the stack is not running")
        return self._source

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

    def branch(self, **options: Any) -> LocalStack:
        """A further stack on the same Postgres: same keys, a freshly migrated database of its own.

        ``options`` are those of the constructor that do not concern Postgres. Must end before this one.
        """
        if self._trunk is None or self._keys is None:
            raise StackError("the stack is not running")
        other = LocalStack(**options)
        other._source = Branch(self._trunk)
        other._given_keys = self._keys
        return other

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
            self._keys = None
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise StackError(f"no space left on device: {error.filename or 'while starting'}") from error
            raise
        self._exits = exits

    async def stop(self) -> None:
        """Ends every part and deletes what is not to be kept. Does nothing if it is not running."""
        exits, self._exits = self._exits, None
        if exits is not None:
            await exits.aclose()
            self._keys = None

    async def _start(self, exits: AsyncExitStack) -> None:
        if self._migrations is not None and not self._migrations.is_dir():
            raise ConfigError(f"no such folder of migrations: {self._migrations}")
        await asyncio.to_thread(sweep, state_dir(), _undo)
        claim = Claim.make(state_dir())
        exits.push_async_callback(asyncio.to_thread, claim.release)
        port = exits.enter_context(listening(self._wanted_port))
        self._port = port.getsockname()[1]
        binary = asyncio.create_task(asyncio.to_thread(find_postgrest, cache_dir()))
        exits.callback(binary.cancel)
        folder = exits.enter_context(scratch(claim))
        self._keys = self._given_keys or self._load_keys(exits)
        exits.push_async_callback(self._source.stop)
        place = Place(claim, folder, self.keys.password)
        await self._source.start(place)
        self._trunk = Trunk(self._source, self._migrations, place)
        exits.push_async_callback(self._trunk.close)
        self._watch(exits)
        proxy, realtime = await _together(
            self._start_rest(exits, claim, folder, binary), self._start_realtime(exits)
        )
        await self._start_front(exits, port, proxy, realtime)
        if self._publish:
            claim.note(env=self.env())

    def _load_keys(self, exits: AsyncExitStack) -> Keys:
        """A persistent stack keeps its keys, so that a ``.env`` made once goes on working."""
        if self._data_dir is None:
            return Keys.make(self._jwt_secret)
        exits.enter_context(owned(self._data_dir))
        file = self._data_dir / KEYS_FILE
        if file.exists():
            return Keys.load(json.loads(file.read_text()))
        keys = Keys.make(self._jwt_secret)
        write_private(file, json.dumps(keys.dump()))
        return keys

    def _watch(self, exits: AsyncExitStack) -> None:
        async def watch() -> None:
            raise StackError(await self._source.ended())

        exits.callback(spawn(watch(), "watch over Postgres", self._ended).cancel)

    def _ended(self, error: BaseException | None) -> None:
        """Of what ends only by our cancelling it, or with the stack."""
        if isinstance(error, Exception):
            self._fail(error if isinstance(error, StackError) else StackError(f"the stack failed: {error!r}"))

    def _fail(self, error: StackError) -> None:
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)
            self._failed.exception()  # seen: nobody has to wait for it

    async def _start_rest(
        self, exits: AsyncExitStack, claim: Claim, folder: Path, binary: asyncio.Task[Path]
    ) -> RestProxy:
        rest = PostgRest(
            await binary,
            folder,
            database_url=self._source.rest_url,
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

    async def _start_realtime(self, exits: AsyncExitStack) -> RealtimeServer:
        realtime = RealtimeServer(
            database_url=self.admin_url,
            jwt_secret=self.jwt_secret,
            api_keys=self.keys.opaque,
            limits=self._limits,
            pace=self._pace,
            faults=self.faults,
            hosts=self._hosts,
            on_failure=lambda why: self._fail(StackError(why)),
        )
        exits.push_async_callback(realtime.stop)
        try:
            await realtime.start()
        except (psycopg.Error, TimeoutError) as error:
            raise StackError(f"the Realtime server cannot start: {str(error).strip()}") from error
        return realtime

    async def _start_front(
        self, exits: AsyncExitStack, port: socket.socket, rest: RestProxy, realtime: RealtimeServer
    ) -> None:
        accounts = Accounts(
            self.admin_url,
            jwt_secret=self.jwt_secret,
            issuer=f"{self.url}/auth/v1",
            expires_in=self._jwt_expiry,
        )
        routes = [Mount("/realtime/v1", routes=realtime.routes)]
        gateway = Gateway(
            self.keys,
            rest=rest,
            auth=auth_app(accounts),
            realtime=Starlette(routes=routes),
            admin=admin_app(self.faults, self.keys),
            hosts=self._hosts,
        )
        server = front_server(gateway, realtime.websocket_protocol)
        serving = spawn(server.serve([port]), "front server", lambda error: self._front_ended(server, error))
        exits.push_async_callback(_end_serving, server, serving)
        up = asyncio.create_task(server.up.wait())
        exits.callback(up.cancel)
        await asyncio.wait({up, serving}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            raise StackError("the front server ended as it started") from serving.exception()

    def _front_ended(self, server: FrontServer, error: BaseException | None) -> None:
        if not server.should_exit or isinstance(error, Exception):
            self._fail(StackError(f"the front server ended: {error!r}"))


async def _together(first: Coroutine[Any, Any, A], second: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Both at once; if one fails, the other has ended, too, when the error is raised."""
    tasks = (asyncio.create_task(first), asyncio.create_task(second))
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _end_serving(server: FrontServer, serving: asyncio.Task[None]) -> None:
    server.should_exit = True
    await asyncio.wait({serving})


def _undo(facts: dict[str, Any]) -> None:
    """What a killed stack left outside of this machine's processes and folders."""
    remove_recorded(facts)
    drop_recorded(facts)


def running_stack(state: Path | None = None) -> dict[str, str] | None:
    """The environment of the newest running stack that was started with ``publish``, if there is one."""
    for record in records(state or state_dir()):
        if "env" in record:
            return dict(record["env"])
    return None

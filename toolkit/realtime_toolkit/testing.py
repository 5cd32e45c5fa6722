"""pytest plugin: a whole local Supabase in a test session.

    async def test_the_owner_hears_it_and_nobody_else(as_user, listener_for, assert_delivered, inject):
        alice, mallory = as_user(), as_user()
        async with alice.client() as client:
            made = await client.table("conversations").insert({"title": "hello"}).execute()
            scope = f"conversation:{made.data[0]['id']}"
            async with listener_for(alice, scope) as hers, listener_for(mallory, scope) as his:
                inject("abort")  # every socket is cut
                await client.table("conversations").update({"title": "new"}).neq("title", "new").execute()
                await assert_delivered(hers)
                assert len(hers.replica) == 1
                assert len(his.replica) == 0

``supabase_stack`` is the stack itself, started once per session (once per worker under pytest-xdist) with
the migrations in ``supabase/migrations``. A test that asks for ``supabase_branch`` gets a freshly migrated
database of its own on the same server, and ``as_user`` and the others then speak to that.

``--supabase-postgres`` says where Postgres comes from, ``--supabase-external`` uses a project that is already
there instead of a stack (tests that need more than a project has are skipped); the ini option ``supabase_migrations`` names another
folder of migrations; overriding the fixture ``supabase_stack_options`` gives any argument of
:class:`realtime_toolkit.stack.LocalStack`. ``listener_for`` needs the toolkit's own migrations (``realtime-toolkit
init``), the rest does not.

Loaded by every pytest run where the toolkit is installed, so it imports nothing heavy at the top.
"""

from __future__ import annotations

import asyncio
import os
import threading
import uuid
import weakref
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from supabase import AsyncClient

    from realtime_toolkit.follow.listener import Listener
    from realtime_toolkit.model import Scope, Verdict
    from realtime_toolkit.settings import Settings
    from realtime_toolkit.stack import LocalStack
    from realtime_toolkit.stack.realtime.faults import Fault
    from realtime_toolkit.store import RestStore
    from realtime_toolkit.verify import Report

T = TypeVar("T")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("supabase").addoption(
        "--supabase-postgres",
        metavar="WHICH",
        help="Postgres of the fixture supabase_stack: a version (15 to 18), container, or a postgresql:// address; "
        "default: TOOLKIT_POSTGRES, else the embedded 17",
    )
    parser.getgroup("supabase").addoption(
        "--supabase-external",
        action="store_true",
        help="use the project that SUPABASE_URL and the other variables name, instead of a local stack",
    )
    parser.getgroup("supabase").addoption(
        "--supabase-verify",
        action="store_true",
        help="collect what `realtime-toolkit verify` checks as tests: one a table and check",
    )
    parser.getgroup("supabase").addoption(
        "--supabase-verify-url",
        metavar="URL",
        help="the database to verify (default: the migrations on a stack of its own)",
    )
    parser.addini(
        "supabase_migrations",
        "folder of migrations that the fixture supabase_stack applies (default: supabase/migrations)",
        default="supabase/migrations",
    )


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    if config.getoption("--supabase-verify"):
        from realtime_toolkit.errors import ToolkitError
        from realtime_toolkit.shown import shown_once, without_secrets
        from realtime_toolkit.verify.items import verify_items

        try:
            report = _verified(config)
        except ToolkitError as error:
            raise pytest.UsageError(f"--supabase-verify: {shown_once(without_secrets(str(error)))}") from None
        items.extend(verify_items(session, report))


def _verified(config: pytest.Config) -> Report:
    """The report that the items show; which tables there are is known only once a database is there."""
    from realtime_toolkit import verify

    folder = config.rootpath
    options: dict[str, Any] = {
        "config": verify.load_config(folder / "supabase" / "verify.toml"),
        "migrations": migrations_folder(config),
        "snapshot": folder / "supabase" / "access.snapshot",
    }
    url = config.getoption("--supabase-verify-url")
    if url is not None:
        return verify.verify(url, **options)
    thread = StackThread(postgres=config.getoption("--supabase-postgres"), migrations=options["migrations"])
    stack = thread.start()
    try:
        return verify.verify(stack.database_url, **options)
    finally:
        thread.stop()


def migrations_folder(config: pytest.Config) -> Path | None:
    """The folder that the ini option ``supabase_migrations`` names, if it is there."""
    named = Path(str(config.getini("supabase_migrations")))
    folder = named if named.is_absolute() else config.rootpath / named
    return folder if folder.is_dir() else None


class StackThread:
    """A :class:`~realtime_toolkit.stack.LocalStack` in a thread with an event loop of its own.

    So it serves whatever the tests do: several loops, blocking clients, a loop closed after each test.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._up = threading.Event()
        self._down: asyncio.Event | None = None
        self._error: BaseException | None = None
        self._stack: LocalStack | None = None

    def start(self) -> LocalStack:
        """Returns when everything is ready. Raises what :class:`~realtime_toolkit.stack.LocalStack` raises."""
        self._thread = threading.Thread(target=self._run, name="supabase-stack")
        self._thread.start()
        self._up.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self.stack

    @property
    def stack(self) -> LocalStack:
        assert self._stack is not None
        return self._stack

    def stop(self) -> None:
        if self._loop is not None and self._down is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._down.set)
            self._thread.join()
            self._thread = None
        if self._error is not None:
            raise self._error

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the stack's loop, from another thread, and return its result."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._up.set()

    async def _serve(self) -> None:
        from realtime_toolkit.stack import LocalStack

        self._loop = asyncio.get_running_loop()
        self._down = asyncio.Event()
        async with LocalStack(**self._options) as self._stack:
            self._up.set()
            await self._down.wait()


class ExternalProject:
    """A project that is already there: hosted, ``supabase start``, or self-hosted.

    It has what a stack has that any project has. Asking it for more (faults, a superuser) skips the test,
    saying what was asked for.
    """

    def __init__(self, settings: Settings) -> None:
        self.url = settings.require("url")
        self.anon_key = settings.require("anon_key")
        self.service_role_key = settings.require("service_role_key")
        self.jwt_secret = settings.require("jwt_secret")
        self.database_url = settings.require("database_url")

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Raises :class:`~realtime_toolkit.errors.ConfigError` naming the variable that is missing."""
        from realtime_toolkit.settings import Settings

        return cls(Settings.from_env(env))

    def env(self) -> dict[str, str]:
        return {
            "SUPABASE_URL": self.url,
            "SUPABASE_ANON_KEY": self.anon_key,
            "SUPABASE_SERVICE_ROLE_KEY": self.service_role_key,
            "SUPABASE_JWT_SECRET": self.jwt_secret,
            "DATABASE_URL": self.database_url,
        }

    def token(self, user_id: str, *, expires_in: int = 3600, **claims: Any) -> str:
        from realtime_toolkit.settings import mint_token

        return mint_token(self.jwt_secret, str(user_id), expires_in=expires_in, claims=claims)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        pytest.skip(f"a project that is already there has no {name}")


@dataclass(frozen=True, slots=True)
class TestUser:
    """A user of the stack: a token that is accepted everywhere. Signing up is not needed."""

    __test__ = False

    id: str
    token: str
    url: str
    anon_key: str

    @property
    def headers(self) -> dict[str, str]:
        """For requests made by hand."""
        return {"apikey": self.anon_key, "Authorization": f"Bearer {self.token}"}

    def store(self) -> RestStore:
        """The toolkit's own statements as this user, over REST."""
        from realtime_toolkit.store import RestStore

        return RestStore(self.url, self.anon_key, lambda: self.token)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncClient]:
        """A ``supabase`` client that acts as this user, over REST and Realtime."""
        import httpx
        from supabase import acreate_client
        from supabase.lib.client_options import AsyncClientOptions

        async with httpx.AsyncClient() as http:
            options = AsyncClientOptions(
                headers={"Authorization": f"Bearer {self.token}"}, auto_refresh_token=False, httpx_client=http
            )
            client = await acreate_client(self.url, self.anon_key, options)
            await client.realtime.set_auth(self.token)
            try:
                yield client
            finally:
                await client.realtime.close()


@pytest.fixture(scope="session")
def supabase_stack_options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Arguments of :class:`~realtime_toolkit.stack.LocalStack`; override this fixture to change them."""
    return {
        "postgres": request.config.getoption("--supabase-postgres"),
        "migrations": migrations_folder(request.config),
    }


@pytest.fixture(scope="session")
def supabase_stack_thread(supabase_stack_options: dict[str, Any]) -> Iterator[StackThread]:
    thread = StackThread(**supabase_stack_options)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()


@pytest.fixture(scope="session")
def supabase_stack(request: pytest.FixtureRequest) -> LocalStack:
    """A running, migrated stack, shared by the tests of a session."""
    if request.config.getoption("--supabase-external"):
        return cast("LocalStack", ExternalProject.from_env(os.environ))
    thread: StackThread = request.getfixturevalue("supabase_stack_thread")
    return thread.stack


@pytest.fixture
def supabase_branch(request: pytest.FixtureRequest) -> Iterator[LocalStack]:
    """A stack with a freshly migrated database of the test's own, on the server of ``supabase_stack``."""
    if request.config.getoption("--supabase-external"):
        pytest.skip("a project that is already there has no branches")
    thread: StackThread = request.getfixturevalue("supabase_stack_thread")
    branch = thread.stack.branch()
    thread.call(branch.start())
    try:
        yield branch
    finally:
        thread.call(branch.stop())


@pytest.fixture
def supabase_project(request: pytest.FixtureRequest) -> LocalStack:
    """What the other fixtures speak to: ``supabase_branch`` if the test has it, else ``supabase_stack``."""
    own = "supabase_branch" in request.fixturenames
    project: LocalStack = request.getfixturevalue("supabase_branch" if own else "supabase_stack")
    return project


@pytest.fixture
def as_user(supabase_project: LocalStack) -> Callable[..., TestUser]:
    """``as_user()`` is a new user, ``as_user(id, **claims)`` a certain one."""

    def act(user_id: str | None = None, **claims: Any) -> TestUser:
        named = user_id or str(uuid.uuid4())
        token = supabase_project.token(named, **claims)
        return TestUser(named, token, supabase_project.url, supabase_project.anon_key)

    return act


@pytest.fixture
def listener_for() -> Callable[..., AbstractAsyncContextManager[Listener]]:
    """``async with listener_for(user, scope) as listener``: a listener that has caught up when it begins.

    ``scope`` is text (``tenant:42``) or a :class:`~realtime_toolkit.model.Scope`; further arguments are those of
    :class:`~realtime_toolkit.follow.listener.Listener`, which here reconnects within a tenth of a second.
    """

    @asynccontextmanager
    async def follow(user: TestUser, scope: Scope | str, **options: Any) -> AsyncIterator[Listener]:
        from realtime_toolkit.follow.listener import Listener
        from realtime_toolkit.model import Scope

        parsed = Scope.parse(scope) if isinstance(scope, str) else scope
        options = {"backoff": (0.05, 0.1), "fail_fast": True, **options}
        async with (
            user.store() as source,
            Listener(user.url, user.anon_key, lambda: user.token, parsed, source, **options) as listener,
        ):
            _SOURCES[listener] = source
            yield listener

    return follow


@pytest.fixture
def assert_delivered() -> Callable[..., Coroutine[Any, Any, Verdict]]:
    """``await assert_delivered(listener)``: it has exactly what the database says its user may see, by now.

    Asked of the log by a watermark, so nothing that was committed before the call can be missed; fails
    naming the rows that are missing, stale or should not be there. ``timeout`` is in seconds.
    """

    async def check(listener: Listener, *, timeout: float = 10.0) -> Verdict:
        from realtime_toolkit.prove.reconcile import reconcile

        verdict = await reconcile(listener, _SOURCES[listener], timeout=timeout)
        assert verdict.ok, _finding(verdict, timeout)
        return verdict

    return check


@pytest.fixture
def inject(supabase_project: LocalStack) -> Iterator[Callable[..., Fault]]:
    """``inject(name, argument=None, count=1, rate=1.0)``: a fault of ``realtime_toolkit.stack.realtime.faults``, by name.

    What has not struck by the end of the test is taken back.
    """
    yield supabase_project.faults.inject
    supabase_project.faults.clear()


_SOURCES: weakref.WeakKeyDictionary[Listener, RestStore] = weakref.WeakKeyDictionary()


def _finding(verdict: Verdict, timeout: float) -> str:
    if verdict.kind == "lagging":
        return f"{verdict.scope}: the watermark has not arrived within {timeout:g} s"
    lists = {"missing": verdict.missing, "stale": verdict.stale, "extra": verdict.extra}
    rows = [f"{name} {row.table} {row.key}" for name, refs in lists.items() for row in refs]
    return f"{verdict.scope}: {verdict.kind} in {len(rows)} rows\n" + "\n".join(rows[:50])

"""One migrated stack for the whole session, and what most tests need of it.

With ``--supabase-external`` a project that is already there takes its place (``make test-external``). Tests marked
``needs_stack`` are skipped then, and the others are as slow as :class:`~tests.external.pacing.Pace` tells them.
"""

from __future__ import annotations

import os
import time
import uuid
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from _pytest.runner import runtestprotocol

from realtime_toolkit.errors import ConfigError, Unreachable
from realtime_toolkit.stack.realtime.limits import Limits
from realtime_toolkit.testing import ExternalProject
from tests.external.lookout import Lookout
from tests.external.pacing import Budget, Pace
from tests.external.project import allowed, left_as_found

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from realtime_toolkit.stack import LocalStack

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "needs_stack(why): not on a project that is already there, for this reason"
    )
    if config.getoption("--supabase-external"):
        try:
            allowed(os.environ)
        except (ConfigError, Unreachable) as refusal:
            raise pytest.UsageError(str(refusal)) from None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--supabase-external"):
        for item in items:
            for marker in item.iter_markers("needs_stack"):
                item.add_marker(pytest.mark.skip(reason=marker.args[0]))


LOOKOUT = pytest.StashKey[Lookout]()


def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("--supabase-external"):
        lookout = session.config.stash[LOOKOUT] = Lookout(ExternalProject.from_env(os.environ))
        lookout.start()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if LOOKOUT in session.config.stash:
        session.config.stash[LOOKOUT].stop()


def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """On a project that is already there, a test that fails while its server subscribes everybody anew is run again."""
    if LOOKOUT not in item.config.stash:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    began = time.monotonic()
    reports = runtestprotocol(item, nextitem=nextitem, log=False)
    if any(report.failed for report in reports) and item.config.stash[LOOKOUT].disturbed(began):
        print("\nthe server subscribed everybody anew: once more", flush=True)
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.fixture(scope="session")
def external(request: pytest.FixtureRequest) -> bool:
    """Whether the tests run on a project that is already there."""
    return bool(request.config.getoption("--supabase-external"))


@pytest.fixture(scope="session")
def pace(external: bool) -> Pace:
    return Pace(Budget() if external else None)


@pytest.fixture(scope="session", autouse=True)
def _clean_project(external: bool) -> Iterator[None]:
    if external:
        with left_as_found(ExternalProject.from_env(os.environ)):
            yield
    else:
        yield


@pytest.fixture(scope="session")
def supabase_stack_options(supabase_stack_options: dict[str, Any]) -> dict[str, Any]:
    """One stack serves all tests, so the genuine 100 changes a second (by the minute) would be used up."""
    return {**supabase_stack_options, "limits": Limits.generous()}


@pytest.fixture(scope="session")
def stack(supabase_stack: LocalStack) -> LocalStack:
    """In a thread and event loop of its own; one per pytest-xdist worker."""
    return supabase_stack


@pytest.fixture
def apart(request: pytest.FixtureRequest, external: bool, stack: LocalStack) -> LocalStack:
    """With a database that no other test uses; a project that is already there has the one only."""
    own: LocalStack = stack if external else request.getfixturevalue("supabase_branch")
    return own


@pytest.fixture
async def db(stack: LocalStack) -> AsyncIterator[Connection]:
    """Autocommit, as ``postgres``."""
    async with await psycopg.AsyncConnection.connect(stack.database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def user() -> str:
    """The id of a user whom nobody else uses."""
    return str(uuid.uuid4())


@pytest.fixture
async def conversation(db: Connection, user: str) -> str:
    """The id of a new conversation of ``user``."""
    made = await db.execute(
        "insert into public.conversations (user_id, title) values (%s, 'test') returning id", [user]
    )
    row = await made.fetchone()
    assert row is not None
    return str(row[0])

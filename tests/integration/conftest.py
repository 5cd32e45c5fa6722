"""Stores over both transports, for tests that must hold for each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from realtime_toolkit import migrate
from realtime_toolkit.store import PostgresStore, RestStore, Store
from tests.integration.acting import Connection, connect
from tests.integration.databases import baseline, database, maker, projects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from realtime_toolkit.stack import LocalStack

HERE = Path(__file__).parent
MIGRATIONS = HERE.parents[1] / "supabase" / "migrations"


@pytest.fixture(params=["postgres", "rest"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make_store(stack: Any, transport: str) -> Callable[..., Store]:
    """``make_store()`` is a service's store, ``make_store(user)`` that user's; not entered yet."""

    def make(user: str | None = None, **options: Any) -> Store:
        if transport == "postgres":
            claims = None if user is None else {"sub": user}
            return PostgresStore(stack.database_url, as_user=claims, **options)
        if user is None:
            return RestStore(stack.url, stack.service_role_key, **options)
        return RestStore(stack.url, stack.anon_key, token=lambda: stack.token(user), **options)

    return make


@pytest.fixture
async def service(make_store: Callable[..., Any]) -> AsyncIterator[Store]:
    async with make_store() as store:
        yield store


@pytest.fixture
async def own(make_store: Callable[..., Any], user: str) -> AsyncIterator[Store]:
    """The store of the user whom ``conversation`` belongs to."""
    async with make_store(user) as store:
        yield store


@pytest.fixture(scope="session")
def elsewhere(stack: LocalStack) -> Iterator[str]:
    """A database of its own: publication and tables of these tests would be in the way of others'."""
    with baseline(stack, "tracking") as url:
        migrate.apply_all(url, MIGRATIONS)
        with psycopg.connect(url, autocommit=True) as there:
            there.execute((HERE / "orders.sql").read_bytes())
        yield url


@pytest.fixture
async def there(elsewhere: str) -> AsyncIterator[Connection]:
    async with connect(elsewhere) as connection:
        yield connection


@pytest.fixture
def empty_database(stack: LocalStack) -> Iterator[str]:
    """The address of a new database with nothing in it, as ``postgres``."""
    with maker(stack) as admin, database(admin, stack, "empty") as url:
        yield url


@pytest.fixture
def another_database(stack: LocalStack) -> Iterator[str]:
    """A second one."""
    with maker(stack) as admin, database(admin, stack, "empty") as url:
        yield url


@pytest.fixture(scope="session")
def baseline_template(stack: LocalStack) -> Iterator[str]:
    """The name of a database with what a Supabase project has before its first migration."""
    with baseline(stack, "baseline") as url:
        yield str(conninfo_to_dict(url)["dbname"])


@pytest.fixture
def project(stack: LocalStack, baseline_template: str) -> Iterator[Callable[..., str]]:
    """``project(*scripts)`` is the address of a new project's database after these scripts, as ``postgres``."""
    with projects(stack, baseline_template) as make:
        yield make


@pytest.fixture(scope="module")
def project_of(stack: LocalStack, baseline_template: str) -> Iterator[Callable[..., str]]:
    """The same for all tests of a module, which may share one."""
    with projects(stack, baseline_template) as make:
        yield make

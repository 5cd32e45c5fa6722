"""One migrated stack for the whole session, and what most tests need of it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from realtime_toolkit.stack.realtime.limits import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realtime_toolkit.stack import LocalStack

Connection = psycopg.AsyncConnection[tuple[Any, ...]]


@pytest.fixture(scope="session")
def supabase_stack_options(supabase_stack_options: dict[str, Any]) -> dict[str, Any]:
    """One stack serves all tests, so the genuine 100 changes a second (by the minute) would be used up."""
    return {**supabase_stack_options, "limits": Limits.generous()}


@pytest.fixture(scope="session")
def stack(supabase_stack: LocalStack) -> LocalStack:
    """In a thread and event loop of its own; one per pytest-xdist worker."""
    return supabase_stack


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

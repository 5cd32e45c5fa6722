"""Stores over both transports, for tests that must hold for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from toolkit.store import PostgresStore, RestStore, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


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

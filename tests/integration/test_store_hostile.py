"""Servers, gateways, policies and callbacks that are not what they should be: errors of ours, and bounded."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from realtime_toolkit.errors import (
    ConfigError,
    InputError,
    SchemaError,
    StoreClosed,
    StoreError,
    StoreUnavailable,
    ToolkitError,
    Unreachable,
)
from realtime_toolkit.model import Scope
from realtime_toolkit.store import PostgresStore, RestStore, Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from psycopg import AsyncConnection

    from realtime_toolkit.stack import LocalStack

PAGE = b"<!DOCTYPE html><html><body>We are down for maintenance, key=S3CRET</body></html>"
NOBODY = "00000000-0000-4000-8000-000000000000"


class Server:
    """Answers every request with the same bytes, and notes what was asked."""

    def __init__(self, answer: bytes, *, pause: float = 0.0) -> None:
        self._answer = answer
        self._pause = pause
        self.asked: list[str] = []

    @asynccontextmanager
    async def store(self, key: str = "key", **options: Any) -> AsyncIterator[RestStore]:
        server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with server, RestStore(url, key, **options) as store:
            yield store

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            for number in range(0, len(self._answer), 64):
                writer.write(self._answer[number : number + 64])
                await writer.drain()
                await asyncio.sleep(self._pause)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def http(status: str, body: bytes, *headers: str, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    head = [f"HTTP/1.1 {status}", f"Content-Length: {size}", "Connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


ANSWERS: dict[str, tuple[bytes, type[ToolkitError], bool]] = {
    "a page": (http("200 OK", PAGE), StoreError, True),
    "nothing": (http("200 OK", b""), StoreError, True),
    "an empty answer": (http("204 No Content", b""), StoreError, True),
    "a page of an error": (http("502 Bad Gateway", PAGE), StoreUnavailable, True),
    "cut off": (http("200 OK", b'{"id": ', length=900), StoreUnavailable, True),
    "no http": (b"SSH-2.0-OpenSSH_9.2\r\n", StoreUnavailable, True),
    "a wrong coding": (http("200 OK", b"{}" * 50, "Content-Encoding: gzip"), StoreUnavailable, True),
    "elsewhere for good": (http("301 Moved", b"", "Location: https://a:S3CRET@b.test/"), ConfigError, False),
    "elsewhere for now": (http("302 Found", PAGE, "Location: https://sso.test/?key=S3CRET"), StoreUnavailable, True),
    "another shape": (http("200 OK", b'"text"'), StoreError, False),
    "a list": (http("200 OK", b"[1]"), StoreError, False),
    "an object without": (http("200 OK", b"{}"), StoreError, False),
    "deep": (http("200 OK", b"[" * 200_000), StoreError, False),
    "a large number": (http("200 OK", b"9" * 5000), StoreError, False),
    "an exponent": (http("200 OK", b"1.0e99999999999999999999"), StoreError, False),
    "not utf-8": (http("200 OK", b'"\xff"'), StoreError, False),
    "an error of another shape": (http("400 Bad", b'{"code": {"a": 1}, "message": ["S3CRET"]}'), StoreError, False),
    "header lines without end": (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 50_000, StoreUnavailable, True),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
async def test_every_answer_is_an_error_of_ours(name: str) -> None:
    answer, kind, retryable = ANSWERS[name]
    async with Server(answer).store() as store:
        calls: list[Callable[[], Any]] = [
            lambda: store.renew_task(NOBODY, "w", 1),
            lambda: store.conversation(NOBODY),
            store.reap_tasks,
        ]
        for call in calls[:1] if name in ("a list", "an object without") else calls:
            with pytest.raises(kind) as caught:
                await call()
            line = str(caught.value)
            assert store.where in line
            assert "\n" not in line
            assert "S3CRET" not in line
            assert "maintenance" not in line
            assert caught.value.retryable is retryable


async def test_an_answer_that_drips_is_given_up() -> None:
    started = time.monotonic()
    async with Server(http("200 OK", b" " * 100_000), pause=0.05).store(
        timeout=0.1, connect_timeout=0.1
    ) as store:
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            await store.reap_tasks()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("key", "token", "bearer"),
    [
        ("eyJ.a.b", None, "eyJ.a.b"),
        ("sb_secret_x", None, None),
        ("sb_publishable_x", "eyJ.c.d", "eyJ.c.d"),
        ("sb_publishable_x", lambda: None, None),
        ("eyJ.a.b", lambda: None, "eyJ.a.b"),
    ],
)
async def test_an_opaque_key_is_no_bearer_token(key: str, token: Any, bearer: str | None) -> None:
    server = Server(http("200 OK", b"[]"))
    async with server.store(key, token=token) as store:
        await store.reap_tasks()
    (asked,) = server.asked
    sent = {name.lower(): value for name, _, value in (line.partition(": ") for line in asked.split("\r\n"))}
    assert sent["apikey"] == key
    assert sent.get("authorization") == (None if bearer is None else f"Bearer {bearer}")


async def raises() -> str:
    raise OSError("auth server: S3CRET")


async def cancels() -> str:
    raise asyncio.CancelledError


@pytest.mark.parametrize("token", [raises, cancels, lambda: 7, lambda: "", lambda: "a\nb", lambda: b"x"])
async def test_a_callback_that_gives_no_token_is_asked_again(token: Any) -> None:
    async with Server(http("200 OK", b"[]")).store(token=token) as store:
        for _ in range(2):
            with pytest.raises(Unreachable) as caught:
                await store.reap_tasks()
            assert "S3CRET" not in str(caught.value)


async def test_a_store_that_is_closed_says_so(stack: LocalStack) -> None:
    stores: list[Store] = [RestStore(stack.url, stack.anon_key), PostgresStore(stack.database_url)]
    for store in stores:
        async with store:
            pass
        with pytest.raises(StoreClosed) as caught:
            await store.reap_tasks()
        assert isinstance(caught.value, ConfigError)
        assert "closed" in repr(store)


async def test_a_policy_that_fails_is_not_the_callers_mistake(
    make_store: Any, user: str, conversation: str, db: AsyncConnection[Any]
) -> None:
    await db.execute(
        "create policy harm on public.tasks as restrictive for all to authenticated "
        f"using (auth.uid() <> '{user}' or 'pro'::text::int = 1)"
    )
    try:
        async with make_store(user) as own:
            task = str(uuid4())
            await db.execute(
                "insert into public.tasks (id, conversation_id) values (%s, %s)", [task, conversation]
            )
            for call in (
                lambda: own.task(task),
                lambda: own.claim_task("w", 30, task),
                lambda: own.sync(Scope("conversation", conversation), None, None),
            ):
                with pytest.raises(SchemaError) as caught:
                    await call()  # type: ignore[no-untyped-call]
                assert not isinstance(caught.value, InputError)
    finally:
        await db.execute("drop policy harm on public.tasks")


async def test_a_value_that_is_none_is_the_callers_mistake(own: Store) -> None:
    body: Any = b"bytes"
    for call in (
        lambda: own.conversation("nope"),
        lambda: own.sync(Scope("conversation", "nope"), None, None),
        lambda: own.sync(Scope("conversation", "a\0b"), None, None),
        lambda: own.renew_task(NOBODY, "w", 2**31),
        lambda: own.renew_task(NOBODY, "w", 1, progress=float("nan")),
        lambda: own.append_chunk(NOBODY, 1, 0, 0, body),
    ):
        with pytest.raises(InputError):
            await call()


async def test_a_service_says_whose_a_conversation_is(service: Store) -> None:
    with pytest.raises(InputError, match="user_id"):
        await service.create_conversation("nobody's")


async def test_a_role_that_is_not_there(stack: LocalStack) -> None:
    async with PostgresStore(stack.database_url, as_user={"role": "nobody-at-all"}) as store:
        with pytest.raises(ConfigError, match="nobody-at-all"):
            await store.reap_tasks()

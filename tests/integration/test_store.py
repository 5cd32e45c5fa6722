"""Both stores, on genuine Postgres and PostgREST: same statements, same answers, same errors."""

from __future__ import annotations

import asyncio
import hashlib
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from realtime_toolkit.errors import (
    ConfigError,
    ContentMismatch,
    IllegalTransition,
    InputError,
    NotFound,
    StaleAttempt,
    StoreError,
    StoreUnavailable,
    ToolkitError,
    Unauthorized,
    Unreachable,
)
from realtime_toolkit.model import Digest, Scope, row_hash
from realtime_toolkit.settings import mint_token
from realtime_toolkit.stack.realtime.proxy import TcpProxy
from realtime_toolkit.store import PostgresStore, RestStore, Store
from tests.integration.network import proxy_to, through

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import AsyncConnection

MakeStore = Any
NOBODY = "00000000-0000-4000-8000-000000000000"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def streaming(store: Store, conversation: str) -> str:
    """A message that takes text."""
    message: str = (await store.create_message(conversation))["id"]
    await store.start_message(message, 1)
    return message


# A message's life


async def test_a_message_from_beginning_to_end(service: Store, conversation: str) -> None:
    message = (await service.create_message(conversation, role="assistant"))["id"]
    assert (await service.message(message))["status"] == "pending"
    await service.start_message(message, 1)
    assert await service.append_chunk(message, 1, 0, 0, "Grüße, ")
    assert await service.append_chunk(message, 1, 1, 7, "100 % 😀 {\"a\"} \\ 'b'")
    await service.checkpoint_message(message, 1)
    text = "Grüße, 100 % 😀 {\"a\"} \\ 'b'"
    assert (await service.message(message))["content"] == text
    assert await service.resume_message(message, 1) == {"attempt": 1, "next_seq": 2, "length": len(text)}
    done = await service.finish_message(message, 1, "completed", len(text), sha256(text))
    assert done["status"] == "completed"
    stored = await service.message(message)
    assert (stored["status"], stored["content"]) == ("completed", text)


async def test_every_write_may_be_repeated(service: Store, conversation: str) -> None:
    message, task = str(uuid4()), str(uuid4())
    for _ in range(2):
        made = await service.create_conversation("again", user_id=NOBODY, id=(again := message))
        assert made["title"] == "again"
        assert (await service.create_task(again, id=task, prompt="p"))["prompt"] == "p"
        assert (await service.create_message(again, id=message, task=task))["task_id"] == task
        claimed = await service.claim_task("w", 30, task)
        assert claimed is not None
        await service.renew_task(task, "w", 1)
        await service.start_message(message, 1)
        await service.append_chunk(message, 1, 0, 0, "text")
        await service.checkpoint_message(message, 1)
    assert not await service.append_chunk(message, 1, 0, 0, "text")
    for _ in range(2):
        await service.finish_message(message, 1, "completed", 4, sha256("text"))
        assert (await service.finish_task(task, "w", 1, "completed"))["status"] == "completed"


async def test_mode_row_writes_its_content_itself(service: Store, conversation: str) -> None:
    message = await streaming(service, conversation)
    await service.checkpoint_message(message, 1, "some")
    assert (await service.message(message))["content"] == "some"
    await service.finish_message(message, 1, "failed", 4, sha256("some"), "some")
    assert (await service.message(message))["status"] == "failed"


async def test_chunk_bodies_come_in_order_and_whole_beyond_a_page(
    service: Store, conversation: str, db: AsyncConnection[Any]
) -> None:
    message = await streaming(service, conversation)
    await db.execute(
        "insert into public.message_chunks (message_id, attempt, seq, conversation_id, position, body)"
        " select %s, 1, n, %s, n, chr(97 + n %% 26) from generate_series(0, 1233) n",
        [message, conversation],
    )
    bodies = await service.chunk_bodies(message, 1, 1234)
    assert "".join(bodies) == "".join(chr(97 + n % 26) for n in range(1234))
    await db.execute("delete from public.message_chunks where message_id = %s and seq = 600", [message])
    with pytest.raises(ContentMismatch, match="chunk 500"):
        await service.chunk_bodies(message, 1, 1234)


# Tasks


async def test_a_task_is_claimed_renewed_and_finished(service: Store, conversation: str) -> None:
    task = await service.create_task(conversation, agent_role=(role := uuid4().hex), prompt="why?")
    assert (task["status"], task["attempt"], task["prompt"]) == ("pending", 1, "why?")
    assert await service.claim_task("w", roles=["nobody's"]) is None
    claimed = await service.claim_task("w", roles=["nobody's", role])
    assert claimed is not None
    assert (claimed["id"], claimed["status"], claimed["lease_owner"]) == (task["id"], "running", "w")
    renewed = await service.renew_task(task["id"], "w", 1, progress=0.1)
    assert renewed["status"] == "running"
    assert (await service.task(task["id"]))["progress"] == Decimal("0.1")
    done = await service.finish_task(task["id"], "w", 1, "failed", "it broke")
    assert (done["status"], done["error"]) == ("failed", "it broke")
    assert await service.answer_of(task["id"]) is None


async def test_reaping_fences_the_worker_that_was_too_late(
    service: Store, conversation: str, db: AsyncConnection[Any]
) -> None:
    task = (await service.create_task(conversation))["id"]
    message = (await service.create_message(conversation, task=task))["id"]
    await service.claim_task("slow", 30, task)
    await service.start_message(message, 1)
    await db.execute(
        "update public.tasks set lease_expires_at = now() - interval '1 s' where id = %s", [task]
    )
    assert task in await service.reap_tasks()
    assert (await service.answer_of(task) or {})["attempt"] == 2
    for late in (
        service.append_chunk(message, 1, 0, 0, "late"),
        service.checkpoint_message(message, 1, "late"),
        service.finish_message(message, 1, "completed", 0, sha256("")),
        service.renew_task(task, "slow", 1),
        service.finish_task(task, "slow", 1, "completed"),
    ):
        with pytest.raises(StaleAttempt):
            await late


# Following


async def test_sync_digest_and_rows_agree(own: Store, user: str, conversation: str) -> None:
    scope = Scope("conversation", conversation)
    message = await streaming(own, conversation)
    await own.append_chunk(message, 1, 0, 0, "text")
    tables = {table.name: table for table in await own.tables("conversation")}
    assert {"public.conversations", "public.messages", "public.message_chunks", "public.tasks"} <= set(tables)
    assert tables["public.message_chunks"].key_columns == ("message_id", "attempt", "seq")
    assert "body" in tables["public.message_chunks"].columns

    page = await own.sync(scope, None, None)
    assert (page.full, page.more, page.after) == (True, False, None)
    digest = Digest()
    for row in page.rows:
        assert row.row is not None
        assert tables[row.table].key_of(row.row) == row.key
        digest = digest.plus(row_hash(row.table, row.key, row.version, row.changed_in))
    assert digest == page.digest
    assert sum(part.count for part in (await own.digest(scope)).values()) == digest.count

    cursor, rows = await own.rows(scope, [""])
    assert cursor >= page.cursor
    assert {(row.key, row.version) for row in rows} == {(row.key, row.version) for row in page.rows}
    assert {row.row is None for row in (await own.rows(scope, [""], keys_only=True))[1]} == {True}

    await own.append_chunk(message, 1, 1, 4, "more")
    following = await own.sync(scope, page.cursor, page.epoch)
    assert not following.full
    assert f'["{message}", 1, 1]' in {row.key for row in following.rows}
    assert (await own.sync(scope, page.cursor, "another cluster")).full


async def test_a_cut_sync_is_continued_behind_its_page(own: Store, conversation: str) -> None:
    scope = Scope("conversation", conversation)
    message = await streaming(own, conversation)
    for number in range(7):
        await own.append_chunk(message, 1, number, number, "x")
    page, keys = await own.sync(scope, None, None, page_size=3), []
    while True:
        keys += [row.key for row in page.rows]
        if not page.more:
            break
        assert page.digest is None
        page = await own.sync(scope, None, None, page_size=3, after=page.after)
    assert page.digest is not None
    assert len(keys) == len(set(keys)) == page.digest.count == 9


async def test_watermarks_belong_to_their_user(own: Store, service: Store, user: str) -> None:
    first = await own.watermark(user, "low")
    assert first != await own.watermark(user, "high")
    with pytest.raises(Unauthorized):
        await own.watermark(NOBODY, "low")
    assert await own.clear_watermarks(user, older_than=60) == 0
    assert await service.clear_watermarks(user, older_than=-60) == 2


# Errors


def check_line(error: ToolkitError, *names: str) -> None:
    """One line that names what and where."""
    line = str(error)
    assert "\n" not in line
    assert len(line) < 400
    for name in names:
        assert name in line


async def test_a_stranger_finds_nothing(make_store: MakeStore, own: Store, conversation: str) -> None:
    message = await streaming(own, conversation)
    assert (await own.conversation(conversation))["id"] == conversation
    async with make_store(str(uuid4())) as stranger:
        for call in (
            lambda: stranger.conversation(conversation),
            lambda: stranger.create_task(conversation),
            lambda: stranger.create_message(conversation),
            lambda: stranger.message(message),
            lambda: stranger.append_chunk(message, 1, 0, 0, "x"),
        ):
            with pytest.raises(NotFound) as caught:
                await call()  # type: ignore[no-untyped-call]
            check_line(caught.value, stranger.where)
        assert not (await stranger.sync(Scope("conversation", conversation), None, None)).rows


async def test_what_does_not_exist_is_not_found(service: Store) -> None:
    for call in (
        lambda: service.conversation(NOBODY),
        lambda: service.create_task(NOBODY),
        lambda: service.start_message(NOBODY, 1),
        lambda: service.renew_task(NOBODY, "w", 1),
        lambda: service.sync(Scope("nothing", NOBODY), None, None),
    ):
        with pytest.raises(NotFound) as caught:
            await call()
        check_line(caught.value, service.where)
    assert await service.claim_task("w", 30, NOBODY) is None


async def test_what_the_database_refuses(service: Store, conversation: str) -> None:
    message = await streaming(service, conversation)
    await service.append_chunk(message, 1, 0, 0, "one")
    with pytest.raises(ContentMismatch) as caught:
        await service.append_chunk(message, 1, 0, 0, "two")
    check_line(caught.value, "append_chunk", service.where)
    await service.append_chunk(message, 1, 2, 5, "hole before")
    with pytest.raises(ContentMismatch):
        await service.finish_message(message, 1, "completed", 16, sha256("one??hole before"))
    with pytest.raises(StaleAttempt):
        await service.append_chunk(message, 2, 1, 3, "x")
    with pytest.raises(IllegalTransition):
        await service.finish_message(message, 1, "streaming", 0, sha256(""))
    task = (await service.create_task(conversation))["id"]
    with pytest.raises(StaleAttempt):
        await service.finish_task(task, "w", 1, "completed")


async def test_input_that_cannot_be_used(service: Store, conversation: str) -> None:
    message = await streaming(service, conversation)
    for call in (
        lambda: service.conversation("not a uuid"),
        lambda: service.append_chunk(message, 1, 0, 0, "a\0b"),
        lambda: service.append_chunk(message, 1, 0, 0, "a\ud83d"),
    ):
        with pytest.raises(InputError) as caught:
            await call()
        check_line(caught.value, service.where)


async def test_a_function_that_is_not_there_asks_for_the_migrations(service: Store) -> None:
    with pytest.raises(StoreError, match="migrate") as caught:
        await service._run("no_such_function", {})
    check_line(caught.value, "no_such_function", service.where)


async def test_keys_tokens_and_passwords_that_are_wrong(stack: Any, user: str) -> None:
    expired = mint_token(stack.jwt_secret, user, expires_in=-60)
    forged = mint_token("x" * 40, user)
    wrong_password = stack.database_url.replace(urlsplit(stack.database_url).password or "?", "wr0ng-pass")
    stores: list[tuple[Store, str]] = [
        (RestStore(stack.url, stack.anon_key), stack.anon_key),
        (RestStore(stack.url, "wr0ng-key"), "wr0ng-key"),
        (RestStore(stack.url, stack.anon_key, token=lambda: expired), expired),
        (RestStore(stack.url, stack.anon_key, token=lambda: forged), forged),
        (RestStore(stack.url, stack.anon_key, token=lambda: "garbage"), "garbage"),
        (PostgresStore(wrong_password), "wr0ng-pass"),
        (PostgresStore(stack.database_url, as_user={"role": "anon"}), user),
    ]
    for store, secret in stores:
        with pytest.raises(Unauthorized) as caught:
            async with store:
                await store.tables("conversation")
        check_line(caught.value, store.where)
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["postgresql://me:s3cret@localhost:54x/db", "postgresql://me:s3cret@h/db?nonsense=1", "host=h s3cret"],
)
def test_a_malformed_postgres_address_is_not_quoted(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        PostgresStore(address)
    assert "s3cret" not in str(caught.value)


def test_a_malformed_url_does_not_show_its_password() -> None:
    with pytest.raises(ConfigError) as caught:
        RestStore("ftp://me:s3cret@example.org", "key")
    assert "s3cret" not in str(caught.value)
    assert RestStore("https://me:s3cret@example.org/", "key").where == "https://example.org"


async def test_nobody_listens(stack: Any) -> None:
    async with TcpProxy("127.0.0.1", 1) as proxy:
        port = proxy.port
    started = time.monotonic()
    for store in (
        PostgresStore(f"postgresql://postgres:s3cret@127.0.0.1:{port}/postgres"),
        RestStore(f"http://127.0.0.1:{port}", "s3cret-key"),
        PostgresStore("postgresql://postgres:s3cret@no-such-host.invalid/postgres"),
        RestStore("http://no-such-host.invalid", "s3cret-key"),
    ):
        with pytest.raises(Unreachable) as caught:
            async with store:
                await store.tables("conversation")
        check_line(caught.value, store.where)
        assert "s3cret" not in str(caught.value)
    assert time.monotonic() - started < 10


async def test_a_server_that_is_none_of_ours(stack: Any, tmp_path: Any) -> None:
    async def hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\nConnection: close\r\n\r\n<html></html>")
        writer.close()

    server = await asyncio.start_server(hello, "127.0.0.1", 0)
    async with server, RestStore(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", "key") as store:
        with pytest.raises(StoreError, match="not JSON") as caught:
            await store.tables("conversation")
        check_line(caught.value, "tracked_tables", store.where)


# The network at its worst


async def test_a_half_open_link_ends_in_time_and_a_new_one_is_made(
    stack: Any, transport: str, conversation: str
) -> None:
    async with (
        proxy_to(stack, transport) as proxy,
        through(proxy, stack, transport, timeout=0.3) as store,
    ):
        await store.conversation(conversation)
        proxy.freeze()
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="no answer in time") as caught:
            await store.conversation(conversation)
        assert time.monotonic() - started < 2
        check_line(caught.value, "conversations", store.where)
        proxy.thaw()
        assert (await store.conversation(conversation))["id"] == conversation


async def test_a_reset_in_the_middle_of_a_call_has_an_unknown_outcome(
    stack: Any, transport: str, conversation: str, db: AsyncConnection[Any]
) -> None:
    async with proxy_to(stack, transport) as proxy, through(proxy, stack, transport) as store:
        message = await streaming(store, conversation)
        async with db.transaction():
            await db.execute("select from public.messages where id = %s for update", [message])
            writing = asyncio.create_task(store.append_chunk(message, 1, 0, 0, "text"))
            await blocked_by(db)
            proxy.cut()
            with pytest.raises(StoreUnavailable, match="may have happened") as caught:
                await writing
        check_line(caught.value, "append_chunk", store.where)
        await store.append_chunk(message, 1, 0, 0, "text")
        assert await store.chunk_bodies(message, 1, 1) == ["text"]


async def blocked_by(db: AsyncConnection[Any]) -> None:
    """Wait until another session waits for a lock of this one."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = await db.execute(
            "select 1 from pg_stat_activity where pg_backend_pid() = any (pg_blocking_pids(pid))"
        )
        if await found.fetchone():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


async def test_connections_that_the_server_closed_are_passed_over(
    stack: Any, conversation: str, db: AsyncConnection[Any]
) -> None:
    address = f"{stack.database_url}?application_name={(name := 'idle-' + uuid4().hex[:8])}"
    async with PostgresStore(address) as store:
        await asyncio.gather(*(store.conversation(conversation) for _ in range(4)))
        ended = await db.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = %s", [name]
        )
        assert [row[0] for row in await ended.fetchall()] == [True] * 4
        assert (await store.conversation(conversation))["id"] == conversation


async def test_many_calls_at_once_share_few_connections(
    stack: Any, conversation: str, db: AsyncConnection[Any]
) -> None:
    address = f"{stack.database_url}?application_name={(name := 'shared-' + uuid4().hex[:8])}"
    async with PostgresStore(address, size=3, prepare_threshold=None) as store:
        found = await asyncio.gather(*(store.conversation(conversation) for _ in range(60)))
        assert {row["id"] for row in found} == {conversation}
        count = await db.execute("select count(*) from pg_stat_activity where application_name = %s", [name])
        assert await count.fetchone() == (3,)
    with pytest.raises(StoreError, match="closed"):
        await store.conversation(conversation)


async def test_a_call_that_is_cancelled_leaves_the_store_usable(
    service: Store, conversation: str, db: AsyncConnection[Any]
) -> None:
    message = await streaming(service, conversation)
    async with db.transaction():
        await db.execute("select from public.messages where id = %s for update", [message])
        writing = asyncio.create_task(service.append_chunk(message, 1, 0, 0, "text"))
        await blocked_by(db)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
    await service.append_chunk(message, 1, 0, 0, "text")
    found = await asyncio.gather(*(service.message(message) for _ in range(20)))
    assert len(found) == 20


async def test_the_token_is_asked_for_each_time_and_may_be_async(
    stack: Any, user: str, conversation: str
) -> None:
    asked: list[str] = []

    def token() -> str:
        asked.append("sync")
        return str(stack.token(user))

    async def token_later() -> str:
        await asyncio.sleep(0)
        asked.append("async")
        return str(stack.token(user))

    callables: list[Callable[[], Any]] = [token, token_later]
    for source in callables:
        async with RestStore(stack.url, stack.anon_key, token=source) as store:
            for _ in range(2):
                await store.conversation(conversation)
    assert asked == ["sync", "sync", "async", "async"]


async def test_opaque_keys_will_do(stack: Any, user: str, conversation: str) -> None:
    async with RestStore(stack.url, stack.secret_key) as service:
        await service.conversation(conversation)
    async with RestStore(stack.url, stack.publishable_key, token=lambda: stack.token(user)) as own:
        await own.conversation(conversation)

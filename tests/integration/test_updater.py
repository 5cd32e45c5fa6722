"""The updater on genuine Postgres and PostgREST: the text arrives whole and once, whatever breaks."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from realtime_toolkit.errors import IllegalTransition, NotFound, StaleAttempt, ToolkitError
from realtime_toolkit.stack.realtime.proxy import TcpProxy
from realtime_toolkit.store import PostgresStore, Store
from realtime_toolkit.write.chunking import CHUNK_BYTES
from realtime_toolkit.write.updater import ThrottledMessageUpdater
from tests.integration.network import proxy_to, through

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from psycopg import AsyncConnection

    Db = AsyncConnection[Any]

WORDS = [f"Wort{number} – " for number in range(40)]
TEXT = "".join(WORDS)


async def new_message(store: Store, conversation: str) -> str:
    return str((await store.create_message(conversation))["id"])


async def chunks(db: Db, message: str, attempt: int = 1) -> list[tuple[int, int, str]]:
    found = await db.execute(
        "select seq, position, body from public.message_chunks"
        " where message_id = %s and attempt = %s order by seq",
        [message, attempt],
    )
    return await found.fetchall()


async def check(db: Db, store: Store, message: str, text: str, status: str = "completed") -> None:
    """The message holds the text, and so do its chunks, without a hole and without an overlap."""
    found = await store.message(message)
    assert (found["status"], found["content"]) == (status, text)
    position = 0
    for number, (seq, start, body) in enumerate(await chunks(db, message)):
        assert (seq, start) == (number, position)
        assert body == text[start : start + len(body)]
        position += len(body)
    assert position == len(text)


async def until(condition: Callable[[], Awaitable[bool]], within: float = 10.0) -> None:
    """Poll what only a query can tell."""
    deadline = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


# What arrives


async def test_text_streams_into_chunks_and_is_assembled(service: Store, conversation: str, db: Db) -> None:
    message = await new_message(service, conversation)
    async with ThrottledMessageUpdater(service, message, interval=0.02) as updater:
        for word in WORDS:
            await updater.append(word)
            await asyncio.sleep(0.002)
    await check(db, service, message, TEXT)
    assert 1 < len(await chunks(db, message)) <= len(WORDS)


async def test_a_viewer_of_the_row_alone_sees_progress(service: Store, conversation: str) -> None:
    message = await new_message(service, conversation)
    async with ThrottledMessageUpdater(service, message, interval=0.0) as updater:
        await updater.append(TEXT)
        await updater.flush()
        seen = await service.message(message)
        assert (seen["status"], seen["content"]) == ("streaming", TEXT)


async def test_mode_row_rewrites_the_content(service: Store, conversation: str, db: Db) -> None:
    message = await new_message(service, conversation)
    async with ThrottledMessageUpdater(service, message, mode="row", interval=0.01) as updater:
        for number, word in enumerate(WORDS):
            await updater.append(word)
            if number == 20:
                await updater.flush()
                assert (await service.message(message))["content"] == "".join(WORDS[:21])
    found = await service.message(message)
    assert (found["status"], found["content"]) == ("completed", TEXT)
    assert not await chunks(db, message)


@pytest.mark.parametrize("mode", ["chunks", "row"])
async def test_any_text_can_be_stored(service: Store, conversation: str, mode: Any) -> None:
    message = await new_message(service, conversation)
    async with ThrottledMessageUpdater(service, message, mode=mode, interval=0.0) as updater:
        for piece in ("a\0b", "\ud83d", "\ude00", " \ud83d ", "%s {} \\ ' \" \x01", "e\u0301\u202e𝔘"):
            await updater.append(piece)
            await updater.flush()
    expected = "a\ufffdb😀 \ufffd %s {} \\ ' \" \x01e\u0301\u202e𝔘"
    found = await service.message(message)
    assert (found["status"], found["content"]) == ("completed", expected)


@pytest.mark.parametrize("mode", ["chunks", "row"])
async def test_an_empty_message_completes(service: Store, conversation: str, mode: Any) -> None:
    message = await new_message(service, conversation)
    async with ThrottledMessageUpdater(service, message, mode=mode) as updater:
        await updater.append("")
    found = await service.message(message)
    assert (found["status"], found["content"]) == ("completed", "")


async def test_ten_megabytes_at_once_become_chunks_that_realtime_can_carry(
    service: Store, conversation: str, db: Db
) -> None:
    message, text = await new_message(service, conversation), "zehn – Megabyte\x01" * 580_000
    async with ThrottledMessageUpdater(service, message) as updater:
        await updater.append(text)
    assert (await service.message(message))["content"] == text
    found = await db.execute(
        "select max(octet_length(body)), max(octet_length(to_jsonb(c)::text))"
        " from public.message_chunks c where message_id = %s",
        [message],
    )
    ((body, record),) = await found.fetchall()
    assert body <= CHUNK_BYTES
    assert record < 500_000


# A crash at any point


class Died(BaseException):
    """The process is gone."""


class Dying:
    """A real store until its ``calls``-th call, before or after which the process dies."""

    def __init__(self, store: Store, calls: int, *, after: bool) -> None:
        self._store = store
        self._left = calls
        self._after = after

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)

        async def call(*args: Any) -> Any:
            self._left -= 1
            if self._left < 0 or (self._left == 0 and not self._after):
                raise Died
            result = await real(*args)
            if self._left == 0:
                raise Died
            return result

        return call


async def write(store: Any, message: str, words: list[str], **options: Any) -> int:
    """Stream the words, each its own flush, behind what is stored; returns the store calls that it takes."""
    async with ThrottledMessageUpdater(store, message, interval=0.0, **options) as updater:
        assert TEXT.startswith(updater.resumed)
        behind = len(updater.resumed)
        for word in words:
            rest = word[max(0, behind) :]
            behind -= len(word)
            if rest:
                await updater.append(rest)
                await updater.flush()
    return updater.writes


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("mode", ["chunks", "row"])
async def test_a_crash_at_any_call_leaves_a_message_that_can_be_completed(
    service: Store, conversation: str, db: Db, after: bool, mode: Any
) -> None:
    words = [TEXT[start : start + 80] for start in range(0, len(TEXT), 80)]
    call, finished = 0, False
    while not finished:
        call += 1
        message = await new_message(service, conversation)
        dying: Any = Dying(service, call, after=after)
        try:
            await write(dying, message, words, mode=mode)
            finished = True
        except Died:
            try:
                await write(service, message, words, mode=mode, resume=True)
            except IllegalTransition:  # it died after the last call: there is nothing left to do
                assert (await service.message(message))["status"] == "completed"
        if mode == "chunks":
            await check(db, service, message, TEXT)
        else:
            assert (await service.message(message))["content"] == TEXT
    assert call > len(words)


STREAM_FOREVER = """
import asyncio, sys
from realtime_toolkit.store import PostgresStore
from realtime_toolkit.write.updater import ThrottledMessageUpdater

async def main(address, message):
    async with PostgresStore(address) as store:
        async with ThrottledMessageUpdater(store, message, interval=0.01) as updater:
            for number in range(1_000_000):
                await updater.append(f"{number} ")
                await asyncio.sleep(0.001)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_killed_process_leaves_its_text_to_the_next_one(
    stack: Any, service: Store, conversation: str, db: Db
) -> None:
    message = await new_message(service, conversation)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STREAM_FOREVER, stack.database_url, message
    )

    async def some_stored() -> bool:
        assert process.returncode is None
        return len(await chunks(db, message)) > 5

    try:
        await until(some_stored, within=30)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    async with ThrottledMessageUpdater(service, message, resume=True) as updater:
        stored = updater.resumed
        await updater.append("– and that is all")
    assert stored == "".join(f"{number} " for number in range(1_000_000))[: len(stored)]
    assert len(stored) > 10
    await check(db, service, message, stored + "– and that is all")


# The network


async def test_an_answer_that_was_lost_is_asked_for_again(
    stack: Any, service: Store, transport: str, conversation: str, db: Db
) -> None:
    """The chunk is committed, and the link is cut while its answer waits: the repetition finds it stored."""
    message = await new_message(service, conversation)
    async with (
        proxy_to(stack, transport) as proxy,
        through(proxy, stack, transport, timeout=0.5) as store,
        ThrottledMessageUpdater(store, message, interval=0.0) as updater,
    ):
        await updater.append("before ")
        await updater.flush()
        proxy.freeze(answers_only=True)

        async def committed() -> bool:
            return len(await chunks(db, message)) == 2

        await updater.append("unknown ")
        await until(committed)
        assert updater.stored == len("before ")
        proxy.cut()
        proxy.thaw()
        await updater.flush()
        await updater.append("after")
    await check(db, service, message, "before unknown after")


@pytest.mark.parametrize("seed", range(3))
async def test_a_link_that_is_cut_again_and_again_loses_nothing(
    stack: Any, service: Store, transport: str, conversation: str, db: Db, seed: int
) -> None:
    dice = random.Random(seed)
    message = await new_message(service, conversation)

    async def cutting(proxy: TcpProxy) -> None:
        while True:
            await asyncio.sleep(dice.uniform(0.0, 0.06))
            proxy.cut()

    async with proxy_to(stack, transport) as proxy, through(proxy, stack, transport) as store:
        cutter = asyncio.create_task(cutting(proxy))
        async with ThrottledMessageUpdater(store, message, interval=0.01) as updater:
            for word in WORDS * 5:
                await updater.append(word)
                await asyncio.sleep(0.002)
            cutter.cancel()
    assert proxy.cuts > 3
    await check(db, service, message, TEXT * 5)


async def test_a_store_that_is_away_for_a_while_holds_append_back_and_loses_nothing(
    stack: Any, service: Store, transport: str, conversation: str, db: Db
) -> None:
    message = await new_message(service, conversation)
    async with (
        proxy_to(stack, transport) as proxy,
        through(proxy, stack, transport) as store,
        ThrottledMessageUpdater(store, message, interval=0.0, max_buffer=100) as updater,
    ):
        await updater.append("before ")
        await updater.flush()
        proxy.refusing = True
        proxy.cut()
        append = asyncio.create_task(updater.append(TEXT))
        done, _ = await asyncio.wait({append}, timeout=0.5)
        assert not done
        assert updater.length - updater.stored == 100
        proxy.refusing = False
        await append
    await check(db, service, message, "before " + TEXT)


# Somebody else


async def test_a_takeover_ends_the_old_writer_at_once_and_leaves_the_new_one_alone(
    service: Store, conversation: str, db: Db
) -> None:
    task = (await service.create_task(conversation))["id"]
    message = (await service.create_message(conversation, task=task))["id"]
    await service.claim_task("old", 30, task)

    async def old() -> None:
        async with ThrottledMessageUpdater(service, message, interval=0.0) as updater:
            await updater.append("the old worker's")
            await updater.flush()
            await db.execute("update public.tasks set lease_expires_at = 'yesterday' where id = %s", [task])
            assert task in await service.reap_tasks()
            await updater.append(" text")
            await asyncio.sleep(60)

    started = time.monotonic()
    with pytest.raises(StaleAttempt):
        await old()
    assert time.monotonic() - started < 5
    async with ThrottledMessageUpdater(service, message, attempt=2) as updater:
        await updater.append("the new worker's text")
    found = await service.message(message)
    assert (found["status"], found["content"], found["attempt"]) == ("completed", "the new worker's text", 2)
    assert [body for *_, body in await chunks(db, message, 1)] == ["the old worker's"]


async def test_a_message_that_a_user_cancels_takes_no_more_text(
    service: Store, conversation: str, db: Db
) -> None:
    message = await new_message(service, conversation)

    async def stream() -> None:
        async with ThrottledMessageUpdater(service, message, interval=0.0) as updater:
            await updater.append("so far")
            await updater.flush()
            await db.execute("update public.messages set status = 'cancelled' where id = %s", [message])
            await updater.append(" and further")
            await asyncio.sleep(60)

    with pytest.raises(IllegalTransition):
        await stream()


async def test_a_message_that_is_not_there(service: Store, make_store: Any, user: str) -> None:
    for store in (service, make_store(user)):
        with pytest.raises(NotFound):
            async with store, ThrottledMessageUpdater(store, user):
                pass


# The end


async def test_a_cancellation_in_the_middle_of_a_write_stores_all_the_text_so_far(
    service: Store, conversation: str, db: Db
) -> None:
    message = await new_message(service, conversation)
    running = asyncio.Event()

    async def stream() -> None:
        async with ThrottledMessageUpdater(service, message) as updater:
            for word in WORDS:
                await updater.append(word)
            running.set()
            await asyncio.sleep(60)

    task = asyncio.create_task(stream())
    await running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await check(db, service, message, TEXT, "cancelled")


async def test_an_exception_marks_the_message_failed_with_the_text_so_far(
    service: Store, conversation: str, db: Db
) -> None:
    message = await new_message(service, conversation)

    async def stream() -> None:
        async with ThrottledMessageUpdater(service, message) as updater:
            await updater.append("so far")
            await updater.append(str(1 / 0))

    with pytest.raises(ZeroDivisionError):
        await stream()
    await check(db, service, message, "so far", "failed")


async def test_text_that_somebody_else_added_is_not_taken_for_ours(
    service: Store, conversation: str, db: Db
) -> None:
    message = await new_message(service, conversation)

    async def stream() -> None:
        async with ThrottledMessageUpdater(service, message, interval=0.0) as updater:
            await updater.append("ours")
            await updater.flush()
            await service.append_chunk(message, 1, 1, 4, "theirs")

    with pytest.raises(ToolkitError, match="finish_message"):
        await stream()
    assert (await service.message(message))["status"] == "streaming"


# What it costs


async def amplification(db: Db, store: Store, conversation: str, kib: int, mode: Any) -> float:
    """Bytes of WAL per byte of text, at 50 tokens a second flushed every 250 ms (with the time left out)."""
    dice = random.Random(7)
    words = ["".join(dice.choices("etaoinshrdlu", k=dice.randint(1, 7))) for _ in range(1000)]
    tokens = [f"{dice.choice(words)} " for _ in range(kib * 1024 // 5)]
    message = await new_message(store, conversation)
    before = await (await db.execute("select pg_current_wal_insert_lsn()")).fetchone()
    async with ThrottledMessageUpdater(store, message, mode=mode, interval=0.0) as updater:
        for start in range(0, len(tokens), 12):
            await updater.append("".join(tokens[start : start + 12]))
            await updater.flush()
    cost = await db.execute("select (pg_current_wal_insert_lsn() - %s::pg_lsn)::bigint", before)
    ((written,),) = await cost.fetchall()
    ratio = float(written / updater.length)
    print(f"{mode}, {updater.length} bytes: {ratio:.1f} bytes of WAL per byte of text")
    return ratio


async def test_chunks_write_a_bounded_number_of_bytes_per_byte(stack: Any, conversation: str, db: Db) -> None:
    """A bare chunk row is 9 times its 60 bytes; version stamps, the broadcast and checkpoints add the rest."""
    async with PostgresStore(stack.database_url) as store:
        short = await amplification(db, store, conversation, 16, "chunks")
        long = await amplification(db, store, conversation, 64, "chunks")
        rows = await amplification(db, store, conversation, 16, "row")
    assert short < 32
    assert long < 1.1 * short
    assert rows > 2.5 * short

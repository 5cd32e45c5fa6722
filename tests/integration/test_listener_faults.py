"""Nothing is lost and nothing comes twice: cuts, every fault of the catalogue, and random schedules of both."""

from __future__ import annotations

import asyncio
import random
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from realtime_toolkit.events import State
from realtime_toolkit.model import Scope
from realtime_toolkit.store import RestStore
from realtime_toolkit.write.updater import ThrottledMessageUpdater
from tests.integration.acting import Connection, connect
from tests.integration.following import LIMIT, following, whole
from tests.integration.network import address, proxy_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realtime_toolkit.stack import LocalStack
    from tests.external.pacing import Pace

TEXT = "Ein Satz nach dem anderen. 一文ずつ。 🚆\n" * 40


@dataclass
class Writer:
    """Somebody who works in a conversation, at random."""

    db: Connection
    store: RestStore
    user: str
    conversation: str
    rng: random.Random

    def __post_init__(self) -> None:
        self.tasks: list[str] = []
        self.messages: list[str] = []

    @classmethod
    async def start(cls, db: Connection, store: RestStore, user: str, seed: int) -> Writer:
        made = await db.execute("insert into conversations (user_id) values (%s) returning id", [user])
        row = await made.fetchone()
        assert row is not None
        return cls(db, store, user, str(row[0]), random.Random(seed))

    async def act(self) -> None:
        action = self.rng.choice(
            [self.insert, self.insert, self.update, self.update, self.delete, self.burst, self.rename]
        )
        await action()

    async def insert(self) -> None:
        self.tasks.append(str(uuid.uuid4()))
        await self.db.execute(
            "insert into tasks (id, conversation_id, prompt) values (%s, %s, 'p')",
            [self.tasks[-1], self.conversation],
        )

    async def update(self) -> None:
        if self.tasks:
            await self.db.execute(
                "update tasks set prompt = prompt || '.' where id = %s", [self.rng.choice(self.tasks)]
            )

    async def delete(self) -> None:
        if self.tasks:
            gone = self.tasks.pop(self.rng.randrange(len(self.tasks)))
            await self.db.execute("delete from tasks where id = %s", [gone])

    async def burst(self) -> None:
        """A row made, changed, deleted and made again, and some more, in one transaction."""
        key = str(uuid.uuid4())
        async with self.db.transaction():
            for n in range(self.rng.randint(1, 8)):
                await self.db.execute(
                    "insert into tasks (conversation_id, prompt) values (%s, %s)",
                    [self.conversation, f"burst {n}"],
                )
            await self.db.execute(
                "insert into tasks (id, conversation_id, prompt) values (%s, %s, 'first')",
                [key, self.conversation],
            )
        await self.db.execute("delete from tasks where id = %s", [key])
        await self.db.execute(
            "insert into tasks (id, conversation_id, prompt) values (%s, %s, 'second')",
            [key, self.conversation],
        )
        self.tasks.append(key)

    async def rename(self) -> None:
        await self.db.execute(
            "update conversations set title = %s where id = %s", [str(self.rng.random()), self.conversation]
        )

    async def stream(self, text: str, seconds: float) -> str:
        """A message in small pieces, over so many seconds; returns its id."""
        row = await self.store.create_message(self.conversation)
        pieces = [text[at : at + 40] for at in range(0, len(text), 40)]
        async with ThrottledMessageUpdater(self.store, row["id"], interval=0.02) as updater:
            for piece in pieces:
                await updater.append(piece)
                await asyncio.sleep(seconds / len(pieces))
        self.messages.append(row["id"])
        return str(row["id"])


@pytest.fixture
async def writer(stack: LocalStack, db: Connection, user: str) -> AsyncIterator[Writer]:
    async with RestStore(stack.url, stack.service_role_key) as store:
        yield await Writer.start(db, store, user, seed=1)


async def test_ten_cuts_in_one_answer_lose_nothing_and_repeat_nothing(
    stack: LocalStack, db: Connection, user: str, writer: Writer, pace: Pace
) -> None:
    rng = random.Random(7)
    async with proxy_to(stack) as proxy:

        async def cut() -> None:
            while proxy.cuts < 10:
                await asyncio.sleep(rng.uniform(0.02, 0.25) * pace.slower)
                proxy.cut()

        scope = Scope("conversation", writer.conversation)
        async with following(stack, user, scope, url=address(proxy), backoff=(0.02, 0.1)) as (
            listener,
            heard,
        ):
            cutting = asyncio.create_task(cut())
            while not cutting.done():
                await pace.write(60)
                await writer.stream(TEXT, seconds=0.5)
            await asyncio.wait_for(listener.synced(), LIMIT)
            await writer.stream(TEXT, seconds=0.2)
            await whole(db, user, writer.conversation, listener, heard)
            assert proxy.cuts == 10
            assert listener.stats.sessions > 5
            assert [heard.texts[message] for message in writer.messages] == [TEXT] * len(writer.messages)
            assert heard.via["live"] > 0
            assert heard.via["sync"] > 1


async def test_a_half_open_link_is_noticed_and_left(
    stack: LocalStack, db: Connection, user: str, writer: Writer
) -> None:
    async with proxy_to(stack) as proxy:
        scope = Scope("conversation", writer.conversation)
        async with following(stack, user, scope, url=address(proxy)) as (listener, heard):
            proxy.freeze()
            await writer.insert()
            await heard.until(
                lambda: State.DISCONNECTED in heard.states or heard.states[-1] is State.CONNECTING
            )
            assert "heartbeat" in " ".join(str(event) for event in heard.events)
            proxy.thaw()
            proxy.cut()
            await whole(db, user, writer.conversation, listener, heard)


FAULTS = [
    ("socket-gap", None),
    ("publication-change", 0.3),
    ("rate-limit", 0.5),
    ("batch-lost", None),
    ("slot-lost", 0.3),
    ("truncated", "toast"),
    ("truncated", "413"),
    ("truncated", "400"),
    ("truncated", "401"),
    ("delete-lost", None),
    ("cut-transaction", 2),
    ("abort", None),
    ("close", 1000),
    ("close", 1001),
    ("close", 1011),
    ("close", 1012),
    ("stale-close", None),
    ("malformed-frame", None),
    ("duplicate", None),
    ("delay", 0.2),
    ("expire-token", None),
    ("slow-consumer", None),
    ("mute-heartbeats", None),
    ("half-open", None),  # last, because nothing else strikes until the heartbeat has noticed it
]
CONNECTING = [
    ("late-subscription", 0.5),
    ("join-never", None),
    ("join-late", 1.0),
    ("refuse", 401),
    ("refuse", 429),
]


async def test_every_fault_is_mended(supabase_branch: LocalStack, user: str) -> None:
    """One after the other on one listener; after each, it has everything again."""
    stack = supabase_branch
    async with connect(stack.database_url) as db, RestStore(stack.url, stack.service_role_key) as store:
        writer = await Writer.start(db, store, user, seed=3)
        scope = Scope("conversation", writer.conversation)
        async with following(stack, user, scope, backoff=(0.02, 0.1)) as (listener, heard):
            for name, argument in FAULTS:
                fault = stack.faults.inject(name, argument)
                async with asyncio.timeout(LIMIT):
                    while fault not in stack.faults.struck:
                        await writer.act()
                        await asyncio.sleep(0.01)  # to give it its chance
                for _ in range(4):
                    await writer.act()
                await writer.stream("short text, " * 20, seconds=0.05)
                try:
                    await whole(db, user, writer.conversation, listener, heard)
                except (AssertionError, TimeoutError) as error:
                    raise AssertionError(f"{name} {argument}: {listener.state} {listener.reason}") from error
            for name, argument in CONNECTING:
                fault = stack.faults.inject(name, argument)
                stack.faults.inject("abort")
                await writer.insert()
                await whole(db, user, writer.conversation, listener, heard)
                assert fault in stack.faults.struck


@pytest.mark.parametrize("seed", range(4))
async def test_random_work_faults_and_cuts_end_in_the_truth(
    apart: LocalStack, external: bool, user: str, seed: int
) -> None:
    """The oracle: after quiescence the replica is what a fresh query as this user shows, and no gap was silent."""
    stack, rng = apart, random.Random(seed)
    harm = [fault for fault in FAULTS if fault[0] not in ("half-open", "mute-heartbeats", "slow-consumer")]
    async with (
        connect(stack.database_url) as db,
        RestStore(stack.url, stack.service_role_key) as store,
        proxy_to(stack) as proxy,
    ):
        writer = await Writer.start(db, store, user, seed)
        scope = Scope("conversation", writer.conversation)

        async def disturb() -> None:
            while True:
                await asyncio.sleep(rng.uniform(0.05, 0.3))
                if external or rng.random() < 0.4:  # faults are the stack's
                    proxy.cut()
                else:
                    stack.faults.inject(*rng.choice(harm))

        async def work() -> None:
            for _ in range(60):
                await writer.act()
                await asyncio.sleep(rng.uniform(0, 0.05))

        async with following(stack, user, scope, url=address(proxy), backoff=(0.02, 0.1)) as (
            listener,
            heard,
        ):
            disturbing = asyncio.create_task(disturb())
            await asyncio.gather(work(), writer.stream(TEXT, seconds=1.5))
            disturbing.cancel()
            if not external:
                stack.faults.clear()
            await whole(db, user, writer.conversation, listener, heard)
            assert heard.texts[writer.messages[0]] == TEXT

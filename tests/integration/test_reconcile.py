"""Reconciliation must name every loss, and nothing else. A verifier that cannot fail is worthless."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from realtime_toolkit.errors import InputError, StoreUnavailable
from realtime_toolkit.follow.listener import Listener
from realtime_toolkit.model import Change, ChangeType, RowRef, Scope, VerdictKind, canonical_key
from realtime_toolkit.prove.reconcile import Lags, reconcile, watch
from realtime_toolkit.store import RestStore
from tests.integration.acting import Connection, column, connect
from tests.integration.following import LIMIT, PATIENT, QUICK, Heard, following, whole

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from realtime_toolkit.model import Verdict
    from realtime_toolkit.stack import LocalStack
    from tests.external.pacing import Pace

    Watched = Callable[..., Awaitable[Verdict]]

TASKS = "public.tasks"


class Lossy(Listener):
    """Loses those changes that a test wants lost, as if they had never come."""

    lose: Callable[[Change], bool] = staticmethod(lambda change: False)

    def __init__(self, *args: Any, **options: Any) -> None:
        self.heard = Heard()
        super().__init__(*args, on_event=self.heard, **options)
        self._lost = asyncio.Semaphore(0)

    def _on_change(self, change: Change) -> None:
        if self.lose(change):
            self._lost.release()
        else:
            super()._on_change(change)

    async def have_lost(self, count: int = 1) -> None:
        """Wait until so many changes have been lost, and lose no more."""
        async with asyncio.timeout(LIMIT):
            for _ in range(count):
                await self._lost.acquire()
        self.lose = lambda change: False

    async def have(self, rows: list[RowRef]) -> None:
        """Wait until the handler has these rows."""
        await self.heard.until(lambda: self.heard.rows.keys() >= set(rows))


@pytest.fixture
async def store(stack: LocalStack, user: str) -> AsyncIterator[RestStore]:
    async with RestStore(stack.url, stack.anon_key, token=lambda: stack.token(user)) as store:
        yield store


@pytest.fixture
async def listener(stack: LocalStack, user: str, conversation: str, store: RestStore) -> AsyncIterator[Lossy]:
    """Synced; never compares unasked, so that what is lost stays lost."""
    async with Lossy(
        stack.url,
        stack.anon_key,
        lambda: stack.token(user),
        Scope("conversation", conversation),
        store,
        timing=PATIENT,
    ) as listener:
        await asyncio.wait_for(listener.synced(), LIMIT)
        yield listener


class Tasks:
    def __init__(self, db: Connection, conversation: str) -> None:
        self._db, self._conversation = db, conversation

    async def add(self, count: int = 1) -> list[RowRef]:
        ids = [str(uuid.uuid4()) for _ in range(count)]
        await self._db.cursor().executemany(
            "insert into tasks (id, conversation_id, prompt) values (%s, %s, 'p')",
            [(id, self._conversation) for id in ids],
        )
        return [RowRef(TASKS, canonical_key([id])) for id in ids]

    async def change(self, *rows: RowRef) -> None:
        await self._db.execute("update tasks set prompt = prompt || '.' where id = any(%s)", [ids(rows)])

    async def delete(self, *rows: RowRef) -> None:
        await self._db.execute("delete from tasks where id = any(%s)", [ids(rows)])


def ids(rows: tuple[RowRef, ...]) -> list[uuid.UUID]:
    return [uuid.UUID(row.key[2:-2]) for row in rows]


@pytest.fixture
def tasks(db: Connection, conversation: str) -> Tasks:
    return Tasks(db, conversation)


# --- verdicts ---


async def test_in_sync(listener: Lossy, store: RestStore, tasks: Tasks) -> None:
    await tasks.add(5)
    verdict = await reconcile(listener, store)
    assert verdict.kind is VerdictKind.IN_SYNC
    assert verdict.ok
    assert verdict.rows == 6, "the conversation and its tasks"
    assert verdict.lag_ms is not None
    assert 0 < verdict.lag_ms < 1000 * LIMIT


async def test_it_passes_while_others_write(
    listener: Lossy, store: RestStore, stack: LocalStack, conversation: str, pace: Pace
) -> None:
    """Rows that change between the marks differ from the truth and are no losses."""
    async with connect(stack.database_url) as busy:
        tasks = Tasks(busy, conversation)
        rows = await tasks.add(20)

        async def write() -> None:
            while True:
                await pace.write(14)
                await tasks.change(*rows[:10])
                await tasks.delete(*await tasks.add(2))

        writing = asyncio.create_task(write())
        try:
            kinds = [(await reconcile(listener, store)).kind for _ in range(15)]
        finally:
            writing.cancel()
            await asyncio.wait([writing])
    assert kinds == [VerdictKind.IN_SYNC] * 15


async def test_a_lost_insert_is_missing(listener: Lossy, store: RestStore, tasks: Tasks) -> None:
    await listener.have(await tasks.add(50))
    listener.lose = lambda change: change.type is ChangeType.INSERT
    (lost,) = await tasks.add()
    await listener.have_lost()
    verdict = await reconcile(listener, store)
    assert verdict.kind is VerdictKind.DIVERGED
    assert (verdict.missing, verdict.stale, verdict.extra) == ((lost,), (), ())
    assert not verdict.ok


async def test_a_lost_update_is_stale(listener: Lossy, store: RestStore, tasks: Tasks) -> None:
    rows = await tasks.add(50)
    await listener.have(rows)
    listener.lose = lambda change: change.type is ChangeType.UPDATE
    await tasks.change(rows[17])
    await listener.have_lost()
    verdict = await reconcile(listener, store)
    assert (verdict.missing, verdict.stale, verdict.extra) == ((), (rows[17],), ())


async def test_a_lost_delete_is_extra(listener: Lossy, store: RestStore, tasks: Tasks) -> None:
    rows = await tasks.add(50)
    await listener.have(rows)
    listener.lose = lambda change: change.type is ChangeType.DELETE
    await tasks.delete(rows[3])
    await listener.have_lost()
    verdict = await reconcile(listener, store)
    assert (verdict.missing, verdict.stale, verdict.extra) == ((), (), (rows[3],))


async def test_each_of_many_losses_is_named_while_others_write(
    listener: Lossy, store: RestStore, tasks: Tasks, stack: LocalStack, conversation: str, pace: Pace
) -> None:
    await pace.write(325)
    rows = await tasks.add(300)
    await listener.have(rows)
    stale, extra = set(rows[10:25]), set(rows[100:110])
    keys = {row.key for row in stale | extra}
    listener.lose = lambda change: change.key in keys
    await tasks.change(*stale)
    await tasks.delete(*extra)
    await listener.have_lost(len(keys))
    async with connect(stack.database_url) as busy:
        others = Tasks(busy, conversation)

        async def write() -> None:
            while True:
                await pace.write(20)
                await others.change(*rows[200:220])

        writing = asyncio.create_task(write())
        try:
            verdict = await reconcile(listener, store)
        finally:
            writing.cancel()
            await asyncio.wait([writing])
    assert (set(verdict.missing), set(verdict.stale), set(verdict.extra)) == (set(), stale, extra)


async def test_a_row_made_again_at_the_same_version_is_stale(
    listener: Lossy, store: RestStore, tasks: Tasks, db: Connection, conversation: str
) -> None:
    (row,) = await tasks.add()
    await listener.have([row])
    listener.lose = lambda change: True
    await tasks.delete(row)
    await db.execute(
        "insert into tasks (id, conversation_id, prompt) values (%s, %s, 'q')", [ids((row,))[0], conversation]
    )
    verdict = await reconcile(listener, store)
    assert verdict.stale == (row,)


async def test_a_membership_that_was_lost_leaves_extra_rows(
    listener: Lossy, store: RestStore, tasks: Tasks, db: Connection, conversation: str
) -> None:
    """No event tells it: the copy has rows that the user may not see any more."""
    rows = await tasks.add(3)
    await listener.have(rows)
    await db.execute("update conversations set user_id = %s where id = %s", [uuid.uuid4(), conversation])
    verdict = await reconcile(listener, store)
    assert set(verdict.extra) == {*rows, RowRef("public.conversations", canonical_key([conversation]))}


async def test_what_a_verdict_named_a_resync_mends(
    listener: Lossy, store: RestStore, tasks: Tasks, db: Connection, user: str, conversation: str
) -> None:
    rows = await tasks.add(5)
    await listener.have(rows)
    listener.lose = lambda change: True
    await tasks.delete(rows[0])
    await tasks.change(rows[1])
    await tasks.add()
    await listener.have_lost(3)
    assert not (await reconcile(listener, store)).ok
    await asyncio.wait_for(listener.resync("the verdict"), LIMIT)
    assert (await reconcile(listener, store)).ok
    await whole(db, user, conversation, listener, listener.heard)


# --- a mark that does not come ---


async def test_without_the_mark_it_lags(supabase_branch: LocalStack, user: str) -> None:
    stack = supabase_branch
    async with connect(stack.database_url) as db:
        (conversation,) = await column(
            db, "insert into conversations (user_id) values (%s) returning id", user
        )
        async with (
            following(stack, user, Scope("conversation", str(conversation)), timing=PATIENT) as (listener, _),
            RestStore(stack.url, stack.anon_key, token=lambda: stack.token(user)) as store,
        ):
            stack.faults.inject("rate-limit", 60)
            verdict = await reconcile(listener, store, timeout=0.3)
            assert verdict.kind is VerdictKind.LAGGING
            assert verdict.lag_ms is not None
            assert verdict.lag_ms >= 300
            assert not verdict.ok


async def test_a_mark_that_is_lost_is_followed_by_another(supabase_branch: LocalStack, user: str) -> None:
    stack = supabase_branch
    async with connect(stack.database_url) as db:
        (conversation,) = await column(
            db, "insert into conversations (user_id) values (%s) returning id", user
        )
        async with (
            following(stack, user, Scope("conversation", str(conversation)), timing=PATIENT) as (listener, _),
            RestStore(stack.url, stack.anon_key, token=lambda: stack.token(user)) as store,
        ):
            stack.faults.inject("batch-lost")
            verdict = await reconcile(listener, store)
            assert verdict.ok


async def test_a_listener_that_is_not_connected_lags(
    stack: LocalStack, user: str, conversation: str, store: RestStore
) -> None:
    scope = Scope("conversation", conversation)
    async with Listener("http://127.0.0.1:9", "key", None, scope, store, timing=QUICK) as listener:
        verdict = await reconcile(listener, store, timeout=0.2)
    assert verdict.kind is VerdictKind.LAGGING


async def test_somebody_must_be_named_to_send_marks_to(
    stack: LocalStack, conversation: str, user: str
) -> None:
    scope = Scope("conversation", conversation)
    async with RestStore(stack.url, stack.service_role_key) as store:
        async with Listener(stack.url, stack.service_role_key, None, scope, store) as listener:
            with pytest.raises(InputError, match="user_id"):
                await reconcile(listener, store)
        async with Listener(stack.url, stack.service_role_key, None, scope, store, user_id=user) as listener:
            assert (await reconcile(listener, store)).ok


async def test_watermarks_do_not_pile_up(
    listener: Lossy, store: RestStore, db: Connection, user: str
) -> None:
    await reconcile(listener, store)
    await db.execute(
        "update realtime_watermarks set created_at = now() - interval '2 minutes' where user_id = %s", [user]
    )
    await reconcile(listener, store)
    marks = await column(db, "select count(*) from realtime_watermarks where user_id = %s", user)
    assert marks[0] <= 3


# --- counts ---


class Noticed(Lags):
    """Lets a test wait for watermarks to have gone round."""

    def __init__(self) -> None:
        super().__init__()
        self._rounds = asyncio.Semaphore(0)

    def add(self, ms: float) -> None:
        super().add(ms)
        self._rounds.release()

    async def rounds(self, count: int) -> None:
        async with asyncio.timeout(LIMIT):
            for _ in range(count):
                await self._rounds.acquire()


@pytest.fixture
def watched(listener: Lossy, store: RestStore, pace: Pace) -> Watched:
    """Watch while work is done."""
    return partial(_watched, listener, store, 0.6 * pace.slower)


async def _watched(listener: Lossy, store: RestStore, seconds: float, work: Any) -> Verdict:
    lags = Noticed()
    watching = asyncio.create_task(watch(listener, store, seconds, every=0.1, lags=lags))
    await lags.rounds(4)  # two or three of the first verdict, then the canaries
    await work()
    return await asyncio.wait_for(watching, LIMIT)


async def test_a_watch_counts_what_was_delivered_live(
    listener: Lossy, tasks: Tasks, watched: Watched
) -> None:
    (before,) = await tasks.add()
    await listener.have([before])

    async def work() -> None:
        rows = await tasks.add(4)
        for _ in range(3):
            await tasks.change(*rows, before)
        # Of a row that is gone nobody can say any more how often it had changed.
        await listener.heard.row(lambda event: (event.change.key, event.change.version) == (rows[0].key, 4))
        await tasks.delete(rows[0])

    verdict = await watched(work)
    assert verdict.kind is VerdictKind.IN_SYNC
    assert (verdict.committed, verdict.live, verdict.recovered, verdict.lost) == (20, 20, 0, 0)


async def test_a_watch_counts_what_a_sync_recovered(listener: Lossy, tasks: Tasks, watched: Watched) -> None:
    async def work() -> None:
        rows = await tasks.add(2)
        await listener.have(rows)
        listener.lose = lambda change: change.key == rows[0].key
        for _ in range(3):
            await tasks.change(*rows)
        await listener.have_lost(3)
        await listener.have(await tasks.add())
        await listener.resync()

    verdict = await watched(work)
    assert verdict.kind is VerdictKind.IN_SYNC
    assert (verdict.committed, verdict.live, verdict.recovered, verdict.lost) == (9, 6, 3, 0)


async def test_a_watch_counts_what_was_lost(listener: Lossy, tasks: Tasks, watched: Watched) -> None:
    async def work() -> None:
        stale, gone = await tasks.add(2)
        await listener.have([stale, gone])
        listener.lose = lambda change: change.table == TASKS
        await tasks.change(stale)
        await tasks.change(stale)  # two
        await tasks.delete(gone)  # one
        await tasks.change(*await tasks.add())  # two
        await listener.have_lost(5)

    verdict = await watched(work)
    assert verdict.kind is VerdictKind.DIVERGED
    assert (len(verdict.missing), len(verdict.stale), len(verdict.extra)) == (1, 1, 1)
    assert (verdict.committed, verdict.live, verdict.recovered, verdict.lost) == (7, 2, 0, 5)


async def test_what_was_wrong_when_a_watch_began_is_not_forgotten(
    listener: Lossy, tasks: Tasks, watched: Watched
) -> None:
    (row,) = await tasks.add()
    await listener.have([row])
    listener.lose = lambda change: change.type is ChangeType.UPDATE
    await tasks.change(row)
    await listener.have_lost()

    async def work() -> None:
        await listener.resync()

    verdict = await watched(work)
    assert (verdict.kind, verdict.stale) == (VerdictKind.DIVERGED, (row,))


async def test_round_trips_are_recorded(listener: Lossy, store: RestStore, pace: Pace) -> None:
    lags = Lags()
    await watch(listener, store, 0.3 * pace.slower, every=0.05, lags=lags)
    assert len(lags.seen) >= 6
    p50, p99 = lags.quantile(0.5), lags.quantile(0.99)
    assert p50 is not None
    assert p99 is not None
    assert 0 < p50 <= p99
    assert sum(lags.histogram()) == len(lags.seen)


async def test_a_source_that_fails_says_so(listener: Lossy, store: RestStore) -> None:
    class Away:
        def __getattr__(self, name: str) -> Any:
            async def fail(*args: Any, **kwargs: Any) -> Any:
                raise StoreUnavailable("away")

            return fail

    with pytest.raises(StoreUnavailable):
        await reconcile(listener, Away())


def test_lags_of_nothing_are_none() -> None:
    assert Lags().quantile(0.5) is None
    assert replace(Lags(), seen=[3.0, 1.0, 2.0, 5000.0]).histogram((1, 2)) == [1, 1, 2]

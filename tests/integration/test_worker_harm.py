"""Whatever other people's code does in a run, a worker goes on, and says what has happened."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio
import pytest

from realtime_toolkit.errors import InputError, SchemaError, StoreUnavailable, ToolkitError, Unauthorized
from realtime_toolkit.model import Row, Status
from realtime_toolkit.settings import mint_token
from realtime_toolkit.store import PostgresStore, RestStore
from realtime_toolkit.tasks import NotOursError, happens
from realtime_toolkit.write.agent import Outcome, run_task, stream_text
from realtime_toolkit.write.updater import ThrottledMessageUpdater
from realtime_toolkit.write.worker import Worker
from tests.integration.pooler import transaction_pooler

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from psycopg import AsyncConnection

    from realtime_toolkit.stack import LocalStack
    from realtime_toolkit.store import Store

    Db = AsyncConnection[Any]

FOREVER = 3600.0


@pytest.fixture
async def store(stack: LocalStack) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(stack.database_url) as made:
        yield made


async def cancelled_by_somebody() -> None:
    """As a library's shared request that was cancelled."""
    inner = asyncio.ensure_future(asyncio.sleep(FOREVER))
    asyncio.get_running_loop().call_soon(inner.cancel)
    await inner


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[asyncio.Task[None]]:
    running = asyncio.create_task(worker.run())
    try:
        yield running
    finally:
        worker.stop()
        await asyncio.wait({running})


class Ended:
    """Hears of outcomes."""

    def __init__(self) -> None:
        self.outcomes: asyncio.Queue[Outcome] = asyncio.Queue()

    def __call__(self, outcome: Outcome) -> None:
        self.outcomes.put_nowait(outcome)

    async def good(self) -> Outcome:
        async with asyncio.timeout(20):
            return await self.outcomes.get()


async def state(db: Db, task: str) -> tuple[Any, ...]:
    found = await db.execute(
        "select t.status, t.error, m.status, m.content from public.tasks t"
        " left join public.messages m on m.task_id = t.id where t.id = %s",
        [task],
    )
    (row,) = await found.fetchall()
    return tuple(row)


# What answer() may do


class Stubborn:
    """Whose closing goes wrong."""

    def __init__(self, close: Callable[[], Any]) -> None:
        self._close = close
        self._left = ["fine"]

    def __aiter__(self) -> Stubborn:
        return self

    async def __anext__(self) -> str:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()

    async def aclose(self) -> None:
        await self._close()


async def fails() -> None:
    raise RuntimeError("while closing")


async def hangs() -> None:
    await asyncio.sleep(FOREVER)


async def yields(*tokens: Any, then: Callable[[], Any] | None = None) -> AsyncIterator[Any]:
    for token in tokens:
        yield token
    if then is not None:
        await then()


async def later(tokens: Any) -> Any:
    await asyncio.sleep(0)
    return tokens


async def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(0)


async def leaves() -> None:
    raise GeneratorExit


def raises_cancelled() -> Any:
    raise asyncio.CancelledError


HARMS: dict[str, tuple[Callable[[], Any], tuple[Any, ...]]] = {
    "none": (lambda: None, ("failed", "InputError", "failed", "")),
    "a list": (lambda: ["a"], ("failed", "InputError", "failed", "")),
    "text": (lambda: "abc", ("failed", "InputError", "failed", "")),
    "a generator": (lambda: (str(n) for n in range(3)), ("failed", "InputError", "failed", "")),
    "a coroutine of nothing": (lambda: later(None), ("failed", "InputError", "failed", "")),
    "a coroutine of tokens": (lambda: later(yields("ok")), ("completed", None, "completed", "ok")),
    "none and nothing": (lambda: yields("a", None, "", "b"), ("completed", None, "completed", "ab")),
    "bytes": (lambda: yields("a", b"b"), ("failed", "InputError", "failed", "a")),
    "numbers": (lambda: yields("a", 7), ("failed", "InputError", "failed", "a")),
    "raises cancelled": (raises_cancelled, ("failed", "CancelledError", "failed", "")),
    "is cancelled": (
        lambda: yields("a", then=cancelled_by_somebody),
        ("failed", "CancelledError", "failed", "a"),
    ),
    "cancels itself": (lambda: yields("a", then=cancels_itself), ("cancelled", None, "cancelled", "a")),
    "leaves": (lambda: yields("a", then=leaves), ("cancelled", None, "cancelled", "a")),
    "closing fails": (lambda: Stubborn(fails), ("completed", None, "completed", "fine")),
    "closing hangs": (lambda: Stubborn(hangs), ("completed", None, "completed", "fine")),
    "closing is cancelled": (
        lambda: Stubborn(cancelled_by_somebody),
        ("completed", None, "completed", "fine"),
    ),
}


@pytest.mark.parametrize("harm", HARMS)
async def test_a_slot_survives_whatever_an_answer_is(
    store: PostgresStore, conversation: str, db: Db, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    role, ended = uuid4().hex, Ended()
    make, expected = HARMS[harm]

    def answer(task: Row) -> Any:
        return make() if task["prompt"] == "harm" else yields("good")

    bad = (await store.create_task(conversation, agent_role=role, prompt="harm"))["id"]
    good = (await store.create_task(conversation, agent_role=role))["id"]
    worker = Worker(store, answer, concurrency=1, roles=[role], poll=0.02, grace=0.2, on_outcome=ended)
    async with working(worker) as running:
        while (await ended.good()).task_id != good:
            pass
        assert not running.done()
    await running
    assert await state(db, bad) == expected
    assert await state(db, good) == ("completed", None, "completed", "good")
    if expected[0] != "completed" or "clos" in harm:
        assert bad in caplog.text or "closed" in caplog.text


@pytest.mark.parametrize("harm", [fails, hangs, cancelled_by_somebody, raises_cancelled, cancels_itself])
async def test_a_slot_survives_whatever_hears_of_outcomes(
    store: PostgresStore, conversation: str, harm: Callable[[], Any]
) -> None:
    role, ended = uuid4().hex, Ended()

    async def on_outcome(outcome: Outcome) -> None:
        ended(outcome)
        await harm()

    for _ in range(3):
        await store.create_task(conversation, agent_role=role)
    worker = Worker(
        store,
        lambda task: yields("x"),
        concurrency=1,
        roles=[role],
        poll=0.02,
        grace=0.1,
        on_outcome=on_outcome,
    )
    async with working(worker) as running:
        assert [(await ended.good()).status for _ in range(3)] == [Status.COMPLETED] * 3
        assert not running.done()
    await running


# What a store may do


class Troubled:
    """A real store that fails in its own way while it is told to."""

    def __init__(self, store: Store, call: str, trouble: Callable[[], Any]) -> None:
        self._store, self._call, self._trouble = store, call, trouble
        self.left = 0
        self.met = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)

        async def call(*args: Any, **named: Any) -> Any:
            if name == self._call and self.left > 0:
                self.left -= 1
                self.met.set()
                await self._trouble()
            return await real(*args, **named)

        return call if callable(real) else real


def raising(error: Exception) -> Callable[[], Any]:
    async def trouble() -> None:
        raise error

    return trouble


PASSING = {
    "away": raising(StoreUnavailable("away")),
    "migrating": raising(SchemaError("no such function")),
    "a policy": raising(ToolkitError("division by zero")),
    "a bug": raising(KeyError("code")),
    "cancelled": cancelled_by_somebody,
    "asked to wait": raising(StoreUnavailable("busy", retry_after=0.01)),
}


@pytest.mark.parametrize("call", ["claim_task", "reap_tasks"])
@pytest.mark.parametrize("trouble", PASSING)
async def test_a_worker_outlives_what_passes_and_says_it_once(
    store: PostgresStore, conversation: str, call: str, trouble: str, caplog: pytest.LogCaptureFixture
) -> None:
    role, ended = uuid4().hex, Ended()
    troubled: Any = Troubled(store, call, PASSING[trouble])
    worker = Worker(
        troubled, lambda task: yields("x"), roles=[role], poll=0.01, reap_every=0.01, on_outcome=ended
    )
    async with working(worker) as running:
        await store.create_task(conversation, agent_role=role)
        await ended.good()
        troubled.left = 3
        await troubled.met.wait()
        await store.create_task(conversation, agent_role=role)
        await ended.good()
        async with asyncio.timeout(20):
            while "works again" not in caplog.text:  # noqa: ASYNC110 (a log has no event)
                await asyncio.sleep(0.01)
        assert not running.done()
    await running
    assert caplog.text.count("is tried until it works") == 1


@pytest.mark.parametrize(
    "error", [SchemaError("no function"), InputError("worker"), Unauthorized("wrong key")]
)
async def test_the_callers_own_mistake_is_raised_from_run(store: PostgresStore, error: ToolkitError) -> None:
    troubled: Any = Troubled(store, "claim_task", raising(error))
    troubled.left = 1
    with pytest.raises(type(error)):
        await asyncio.wait_for(Worker(troubled, lambda task: yields("x"), poll=0.01).run(), 10)


async def test_a_wrong_key_ends_a_worker_and_a_token_that_may_change_does_not(
    stack: LocalStack, conversation: str, store: PostgresStore
) -> None:
    role, ended = uuid4().hex, Ended()
    forged = mint_token("x" * 40, None, role="service_role")
    async with RestStore(stack.url, stack.anon_key, forged) as fixed:
        with pytest.raises(Unauthorized):
            await asyncio.wait_for(Worker(fixed, lambda task: yields("x"), poll=0.01).run(), 10)
    tokens = [stack.service_role_key, forged]

    def token() -> str:
        return tokens.pop() if len(tokens) > 1 else tokens[0]

    await store.create_task(conversation, agent_role=role)
    async with (
        RestStore(stack.url, stack.anon_key, token) as renewed,
        working(Worker(renewed, lambda task: yields("x"), roles=[role], poll=0.01, on_outcome=ended)),
    ):
        assert (await ended.good()).status is Status.COMPLETED


async def test_a_part_that_somebody_cancels_ends_the_worker_with_the_reason(store: PostgresStore) -> None:
    worker = Worker(store, lambda task: yields("x"), roles=[uuid4().hex], poll=0.01)
    running = asyncio.create_task(worker.run())
    parts: list[asyncio.Task[Any]] = []
    while not parts:
        await asyncio.sleep(0)
        parts = [task for task in asyncio.all_tasks() if task.get_name().endswith("reaper")]
    parts[0].cancel()
    with pytest.raises(NotOursError):
        await asyncio.wait_for(running, 10)


@pytest.mark.parametrize("trouble", [cancelled_by_somebody, raising(KeyError("status")), PASSING["away"]])
async def test_the_lease_is_kept_through_whatever_passes(
    store: PostgresStore, conversation: str, db: Db, trouble: Callable[[], Any]
) -> None:
    task = (await store.create_task(conversation))["id"]
    troubled: Any = Troubled(store, "renew_task", trouble)
    troubled.left = 2

    async def outlive() -> None:
        lease = (await store.task(task))["lease_expires_at"]
        async with asyncio.timeout(20):
            while (await store.task(task))["lease_expires_at"] == lease:  # noqa: ASYNC110 (only a query tells)
                await asyncio.sleep(0.02)

    outcome = await run_task(troubled, task, yields("kept", then=outlive), lease_seconds=2)
    assert outcome.status is Status.COMPLETED
    assert troubled.left == 0


async def test_a_keeper_that_dies_ends_the_run_with_the_reason(
    store: PostgresStore, conversation: str, db: Db
) -> None:
    task = (await store.create_task(conversation))["id"]

    async def kill() -> None:
        (keeper,) = [each for each in asyncio.all_tasks() if each.get_name() == f"lease of task {task}"]
        keeper.cancel()
        await asyncio.sleep(FOREVER)

    with pytest.raises(NotOursError, match="lease"):
        await asyncio.wait_for(run_task(store, task, yields("a", then=kill)), 10)
    assert (await state(db, task))[::2] == ("failed", "cancelled")  # the message was cut off, the task is why


# Every end of a task ends its message


@pytest.mark.parametrize("broken", ["finish_message", "append_chunk", "finish_task"])
async def test_an_end_that_fails_half_way_leaves_nothing_streaming(
    store: PostgresStore, conversation: str, db: Db, broken: str
) -> None:
    task = (await store.create_task(conversation))["id"]
    troubled: Any = Troubled(store, broken, raising(ToolkitError("the database says no")))
    troubled.left = 1
    with pytest.raises(ToolkitError):
        await run_task(troubled, task, yields("so ", "far"), interval=0.0)
    if broken == "finish_task":  # the answer is whole: the next attempt says so
        await db.execute("update public.tasks set lease_expires_at = 'yesterday' where id = %s", [task])
        assert task in await store.reap_tasks()
        assert (await run_task(store, task, yields("not asked for"))).status is Status.COMPLETED
        assert (await state(db, task))[2:] == ("completed", "so far")
    else:
        assert (await state(db, task))[::2] == ("failed", "failed")


async def test_a_user_who_says_stop_is_heard_at_the_next_write(
    store: PostgresStore, stack: LocalStack, user: str, conversation: str, db: Db
) -> None:
    task = (await store.create_task(conversation))["id"]
    said = asyncio.Event()

    async def stop() -> None:
        async with RestStore(stack.url, stack.anon_key, stack.token(user)) as own:
            stored = "select from public.message_chunks where conversation_id = %s"
            async with asyncio.timeout(10):
                while not (await db.execute(stored, [conversation])).rowcount:  # noqa: ASYNC110 (only a query tells)
                    await asyncio.sleep(0.01)
            assert (await own.cancel_task(task))["status"] == "cancelled"
            assert (await own.cancel_task(task))["status"] == "cancelled"
        said.set()

    async def talk() -> AsyncIterator[str]:
        yield "so far"
        await stop()
        while True:
            yield " and on"
            await asyncio.sleep(0.01)

    outcome = await asyncio.wait_for(run_task(store, task, talk(), interval=0.0, lease_seconds=30), 4)
    assert said.is_set()
    assert outcome.status is Status.CANCELLED
    assert await state(db, task) == ("cancelled", None, "cancelled", "so far")


async def test_an_answer_that_ended_first_is_completed(
    store: PostgresStore, stack: LocalStack, user: str, conversation: str, db: Db
) -> None:
    task = (await store.create_task(conversation))["id"]
    dying: Any = Troubled(store, "finish_task", raising(ToolkitError("gone")))
    dying.left = 1
    with pytest.raises(ToolkitError):
        await run_task(dying, task, yields("whole"))
    async with RestStore(stack.url, stack.anon_key, stack.token(user)) as own:
        assert (await own.cancel_task(task))["status"] == "completed"
    assert await state(db, task) == ("completed", None, "completed", "whole")


async def test_a_message_that_comes_after_the_end_has_ended(store: PostgresStore, conversation: str) -> None:
    task = (await store.create_task(conversation))["id"]
    await store.cancel_task(task)
    assert (await store.create_message(conversation, task=task))["status"] == "cancelled"


# Whose cancellation


async def half_cancelled() -> None:
    """As Python before 3.11.4 leaves a task in which a task group has failed."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        assert task.cancelling() == 1


@pytest.mark.parametrize("trouble", ["none", "store away", "taken over"])
async def test_in_a_task_that_is_half_cancelled(
    store: PostgresStore, conversation: str, db: Db, trouble: str
) -> None:
    task = (await store.create_task(conversation))["id"]
    troubled: Any = Troubled(store, "append_chunk", PASSING["away"])
    troubled.left = 2 if trouble == "store away" else 0

    async def then() -> None:
        if trouble == "taken over":
            await db.execute("update public.tasks set lease_expires_at = 'yesterday' where id = %s", [task])
            await store.reap_tasks()
            await asyncio.sleep(FOREVER)

    async def job() -> Any:
        await half_cancelled()
        try:
            return await run_task(troubled, task, yields("a", "b", then=then), lease_seconds=1)
        except ToolkitError as error:
            return error

    ended = await asyncio.wait_for(asyncio.create_task(job()), 15)
    if trouble == "taken over":
        assert ended.code == "stale_attempt"
    else:
        assert (ended.status, ended.length) == (Status.COMPLETED, 2)


@pytest.mark.parametrize("what", ["stream_text", "updater", "worker"])
async def test_a_cancellation_of_anyios_stays_in_its_scope(
    store: PostgresStore, conversation: str, db: Db, what: str
) -> None:
    role = uuid4().hex
    started = asyncio.Event()

    async def tokens() -> AsyncIterator[str]:
        yield "so far"
        started.set()
        await asyncio.sleep(FOREVER)

    async def job() -> None:
        if what == "stream_text":
            await stream_text(store, conversation, tokens(), agent_role=role)
        elif what == "worker":
            await Worker(store, lambda task: tokens(), roles=[role], poll=0.01).run()
        else:
            message = (await store.create_message(conversation))["id"]
            async with ThrottledMessageUpdater(store, message) as updater:
                async for token in tokens():
                    await updater.append(token)

    if what == "worker":
        await store.create_task(conversation, agent_role=role)
    async with anyio.create_task_group() as group:
        group.start_soon(job)
        assert await happens(started, 10)
        group.cancel_scope.cancel()
    with anyio.move_on_after(0.3) as scope:
        if what == "worker":
            started.clear()
            await store.create_task(conversation, agent_role=role)
        await job()
    assert scope.cancelled_caught
    this = asyncio.current_task()
    assert this is not None
    assert not this.cancelling()
    found = await db.execute(
        "select m.status, m.content from public.messages m where m.conversation_id = %s", [conversation]
    )
    assert await found.fetchall() == [("cancelled", "so far")] * 2


# What is no use is said at once


@pytest.mark.parametrize(
    "options",
    [{"concurrency": 0}, {"roles": "assistant"}, {"intervall": 1}, {"mode": "rows"}, {"lease_seconds": 0.5}],
)
def test_options_that_cannot_be(options: Any) -> None:
    store: Any = None
    with pytest.raises(InputError):
        Worker(store, lambda task: yields("x"), **options)


async def test_tokens_that_are_none_leave_no_task(store: PostgresStore, conversation: str, db: Db) -> None:
    for wrong in (["a"], "abc", None, iter("abc")):
        with pytest.raises(InputError, match="asynchronous"):
            await stream_text(store, conversation, wrong)  # type: ignore[arg-type]
    found = await db.execute("select from public.tasks where conversation_id = %s", [conversation])
    assert found.rowcount == 0


# Poolers


@pytest.mark.parametrize("who", ["service", "user"])
async def test_a_transaction_pooler_will_do(
    stack: LocalStack, conversation: str, user: str, db: Db, who: str, caplog: pytest.LogCaptureFixture
) -> None:
    """cases/runtime/22: Supabase's port 6543, with default settings."""
    caplog.set_level(logging.WARNING)
    words = [f"word{number} " for number in range(60)]
    claims = {"sub": user} if who == "user" else None
    with transaction_pooler(stack.database_url) as address:
        async with PostgresStore(address, as_user=claims) as pooled:
            outcomes = await asyncio.gather(
                *(stream_text(pooled, conversation, yields(*words), interval=0.0) for _ in range(4))
            )
    assert {outcome.status for outcome in outcomes} == {Status.COMPLETED}
    for outcome in outcomes:
        assert (await state(db, outcome.task_id))[2:] == ("completed", "".join(words))
    assert not caplog.records

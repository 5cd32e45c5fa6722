"""Tasks and workers on real stores: however a run ends, the rows say so."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from realtime_toolkit.errors import IllegalTransition, NotFound, StaleAttempt, Unauthorized
from realtime_toolkit.model import Row, Status
from realtime_toolkit.store import PostgresStore, Store
from realtime_toolkit.write.agent import Outcome, paced, run_task, stream_text
from realtime_toolkit.write.worker import Worker
from tests.integration.network import proxy_to, through

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from psycopg import AsyncConnection

    Db = AsyncConnection[Any]


class Tokens:
    """Some words, then what ``then`` does; notes that it was closed."""

    def __init__(self, *words: str, then: Callable[[], Any] | None = None) -> None:
        self.words = words
        self.then = then
        self.sent = asyncio.Event()
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[str]:
        for word in self.words:
            yield word
        self.sent.set()
        if self.then is not None:
            await self.then()

    async def aclose(self) -> None:
        self.closed = True


class Died(BaseException):
    """The process is gone."""


class DiesBefore:
    """A real store whose process dies before one of its calls."""

    def __init__(self, store: Store, call: str) -> None:
        self._store = store
        self._call = call

    def __getattr__(self, name: str) -> Any:
        if name == self._call:
            raise Died
        return getattr(self._store, name)


async def forever() -> None:
    await asyncio.Event().wait()


async def fail() -> None:
    raise ValueError("the model\nfell\0over\ud83d")


async def state(store: Store, task: str) -> tuple[Row, Row | None]:
    return await store.task(task), await store.answer_of(task)


async def check(store: Store, task: str, status: str, text: str) -> None:
    """Task and message agree."""
    found, message = await state(store, task)
    assert message is not None
    assert (found["status"], message["status"], message["content"]) == (status, status, text)
    assert found["completed_at"]


async def lapse(db: Db, task: str) -> None:
    """As if the worker had not renewed its lease."""
    await db.execute("update public.tasks set lease_expires_at = 'yesterday' where id = %s", [task])


# One task


@pytest.mark.parametrize("mode", ["chunks", "row"])
async def test_a_task_is_streamed_and_completed(service: Store, conversation: str, mode: Any) -> None:
    tokens = Tokens("An ", "answer.")
    outcome = await stream_text(service, conversation, tokens, mode=mode, interval=0.0, prompt="Well?")
    assert (outcome.status, outcome.length, outcome.attempt) == (Status.COMPLETED, 10, 1)
    assert outcome.writes >= 1
    await check(service, outcome.task_id, "completed", "An answer.")
    task, message = await state(service, outcome.task_id)
    assert (task["prompt"], task["progress"], task["error"]) == ("Well?", 1, None)
    assert message is not None
    assert (message["id"], message["role"]) == (outcome.message_id, "assistant")
    assert tokens.closed


async def test_a_user_may_do_it_themselves(own: Store, conversation: str) -> None:
    outcome = await stream_text(own, conversation, paced("All in one's own name."))
    await check(own, outcome.task_id, "completed", "All in one's own name.")


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, "ValueError"),
        ({"on_error": str}, "the model fell\ufffdover\ufffd"),
        ({"on_error": lambda error: 1 / 0}, "ValueError"),
        ({"on_error": lambda error: None}, "ValueError"),
    ],
)
async def test_an_iterator_that_raises_fails_the_task_with_a_reason_that_is_chosen(
    service: Store, conversation: str, options: Any, shown: str
) -> None:
    task, tokens = (await service.create_task(conversation))["id"], Tokens("so ", "far", then=fail)
    with pytest.raises(ValueError, match="the model"):
        await run_task(service, task, tokens, **options)
    await check(service, task, "failed", "so far")
    assert (await service.task(task))["error"] == shown
    assert tokens.closed


@pytest.mark.parametrize("times", [1, 2])
async def test_a_cancelled_call_leaves_cancelled_rows_with_all_the_text(
    service: Store, conversation: str, times: int
) -> None:
    task, tokens = (await service.create_task(conversation))["id"], Tokens("so ", "far", then=forever)
    running = asyncio.create_task(run_task(service, task, tokens))
    await tokens.sent.wait()
    for _ in range(times):
        running.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await running
    await check(service, task, "cancelled", "so far")
    assert tokens.closed


class Interrupting:
    """A real store during whose ``calls``-th call the run is cancelled."""

    def __init__(self, store: Store, calls: int, *, after: bool) -> None:
        self._store = store
        self._left = calls
        self._after = after
        self.run: asyncio.Task[Outcome] | None = None

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)

        async def call(*args: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                self._cancel()
            result = await real(*args, **named)
            if self._left == 0 and self._after:
                self._cancel()
            return result

        return call

    def _cancel(self) -> None:
        assert self.run is not None
        self.run.cancel()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_cancellation_during_any_call_leaves_nothing_unfinished(
    service: Store, conversation: str, db: Db, after: bool
) -> None:
    calls, completed = 0, False
    while not completed:
        calls += 1
        store: Any = Interrupting(service, calls, after=after)
        tokens = Tokens("one ", "two")
        store.run = asyncio.create_task(stream_text(store, conversation, tokens, interval=0.0))
        try:
            await store.run
            completed = True
        except asyncio.CancelledError:
            assert tokens.closed
    left = await db.execute(
        "select t.status, m.status, m.content from public.tasks t left join public.messages m on m.task_id = t.id"
        " where t.conversation_id = %s",
        [conversation],
    )
    found = await left.fetchall()
    assert calls > 6
    assert len(found) >= calls - 1  # cancelled before the task was there, it may not be there
    for task, message, content in found:
        assert task in ("cancelled", "completed")
        assert message in ("cancelled", "completed", None)
        assert "one two".startswith(content or "")
        assert content == "one two" or message != "completed"


@pytest.mark.parametrize("table", ["tasks", "messages"])
async def test_a_cancellation_in_the_database_stops_the_work(
    service: Store, own: Store, conversation: str, db: Db, table: str
) -> None:
    task = (await service.create_task(conversation))["id"]

    async def cancel_and_go_on() -> None:
        column = "id" if table == "tasks" else "task_id"
        await until_stored(db, task)
        await db.execute(f"update public.{table} set status = 'cancelled' where {column} = %s", [task])
        if table == "tasks":
            await forever()

    tokens = Tokens("so ", "far", then=cancel_and_go_on)
    outcome = await run_task(service, task, tokens, interval=0.0, lease_seconds=1)
    assert outcome.status is Status.CANCELLED
    found, message = await state(own, task)
    assert message is not None
    assert (found["status"], message["status"]) == ("cancelled", "cancelled")
    assert tokens.closed
    this = asyncio.current_task()
    assert this is not None
    assert not this.cancelling()


async def until_stored(db: Db, task: str) -> None:
    """Wait until the task's message has text."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = await db.execute(
            "select 1 from public.message_chunks c join public.messages m on m.id = c.message_id"
            " where m.task_id = %s",
            [task],
        )
        if await found.fetchone():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("no text was stored")


async def test_the_lease_is_renewed_while_the_work_runs(service: Store, conversation: str, db: Db) -> None:
    task = (await service.create_task(conversation))["id"]
    leases: set[Any] = set()

    async def outlive_the_lease() -> None:
        while len(leases) < 4:
            assert task not in await service.reap_tasks()
            leases.add((await service.task(task))["lease_expires_at"])
            await asyncio.sleep(0.05)

    await run_task(service, task, Tokens("slow", then=outlive_the_lease), lease_seconds=1)
    await check(service, task, "completed", "slow")


async def test_a_takeover_ends_the_old_run_and_records_nothing(
    service: Store, conversation: str, db: Db
) -> None:
    task = (await service.create_task(conversation))["id"]

    async def be_taken_over() -> None:
        await lapse(db, task)
        assert task in await service.reap_tasks()
        await forever()

    tokens = Tokens("old", then=be_taken_over)
    with pytest.raises(StaleAttempt):
        await run_task(service, task, tokens, lease_seconds=1)
    assert tokens.closed
    found, message = await state(service, task)
    assert message is not None
    assert (found["status"], found["attempt"]) == ("pending", 2)
    assert (message["status"], message["attempt"]) == ("pending", 2)
    outcome = await run_task(service, task, Tokens("new"))
    assert (outcome.attempt, outcome.message_id) == (2, message["id"])
    await check(service, task, "completed", "new")


async def test_an_answer_that_was_complete_is_not_streamed_again(
    service: Store, conversation: str, db: Db
) -> None:
    """The worker died between the end of the message and that of the task."""
    task = (await service.create_task(conversation))["id"]
    dying: Any = DiesBefore(service, "finish_task")
    with pytest.raises(Died):
        await run_task(dying, task, Tokens("whole"))
    await lapse(db, task)
    assert task in await service.reap_tasks()
    again = Tokens("not asked for")
    assert (await run_task(service, task, again)).status is Status.COMPLETED
    assert not again.sent.is_set()
    await check(service, task, "completed", "whole")


async def test_only_a_pending_task_of_ones_own_can_be_run(
    service: Store, make_store: Any, conversation: str
) -> None:
    task = (await stream_text(service, conversation, Tokens("once"))).task_id
    again = Tokens("twice")
    with pytest.raises(IllegalTransition, match="completed, not pending"):
        await run_task(service, task, again)
    assert again.closed
    async with make_store(str(uuid4())) as stranger:
        for attempt in (
            lambda: run_task(stranger, task, Tokens("x")),
            lambda: stream_text(stranger, conversation, Tokens("x")),
            lambda: stream_text(stranger, str(uuid4()), Tokens("x")),
        ):
            with pytest.raises(NotFound):
                await attempt()  # type: ignore[no-untyped-call]
    await check(service, task, "completed", "once")


async def test_a_store_that_is_away_for_a_while_does_not_end_the_run(
    stack: Any, service: Store, conversation: str
) -> None:
    task = (await service.create_task(conversation))["id"]
    async with (
        proxy_to(stack) as proxy,
        through(proxy, stack, "rest") as store,
    ):

        async def break_the_link() -> None:
            proxy.refusing = True
            proxy.cut()
            asyncio.get_running_loop().call_later(0.4, setattr, proxy, "refusing", False)

        outcome = await run_task(store, task, Tokens("before ", "and after", then=break_the_link))
    assert outcome.status is Status.COMPLETED
    await check(service, task, "completed", "before and after")


STREAM = """
import asyncio, sys
from realtime_toolkit.write.agent import paced, stream_text
from realtime_toolkit.store import PostgresStore

async def main(address, conversation):
    async with PostgresStore(address) as store:
        await stream_text(store, conversation, paced("word " * 100_000, 200), interval=0.02)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_ctrl_c_records_cancelled_with_all_the_text_so_far(
    stack: Any, service: Store, conversation: str, db: Db
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", STREAM, stack.database_url, conversation, stderr=asyncio.subprocess.PIPE
    )
    task = ""
    while not task:
        assert process.returncode is None
        found = await db.execute("select id from public.tasks where conversation_id = %s", [conversation])
        if row := await found.fetchone():
            task = str(row[0])
    await until_stored(db, task)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(10):
        await process.communicate()
    found_task, message = await state(service, task)
    assert message is not None
    assert (found_task["status"], message["status"]) == ("cancelled", "cancelled")
    assert message["content"].startswith("word")
    chunks = await db.execute(
        "select string_agg(body, '' order by seq) from public.message_chunks where message_id = %s",
        [message["id"]],
    )
    assert await chunks.fetchone() == (message["content"],)


# Workers


class Answers:
    """Answers each task with its prompt, and knows how many it answers at once."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.running = self.most = 0
        self.outcomes: list[Outcome] = []
        self.gate = asyncio.Event()

    async def __call__(self, task: Row) -> AsyncIterator[str]:
        self.begun.append(task["id"])
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for word in task["prompt"].split():
                yield word
            await self.gate.wait()
            if task["prompt"] == "fail":
                await fail()
        finally:
            self.running -= 1


async def pending(store: Store, conversation: str, role: str, *prompts: str) -> list[str]:
    return [
        str((await store.create_task(conversation, agent_role=role, prompt=prompt))["id"])
        for prompt in prompts
    ]


async def settled(answers: Answers, count: int) -> None:
    deadline = time.monotonic() + 20
    while len(answers.begun) < count:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_workers_share_the_tasks_and_keep_to_their_limit(service: Store, conversation: str) -> None:
    role, answers = uuid4().hex, Answers()
    tasks = await pending(service, conversation, role, "a", "b", "fail", "d", "e", "f", "g")
    theirs = await pending(service, conversation, "another", "x")
    workers = [
        Worker(service, answers, concurrency=2, roles=[role], poll=0.02, on_outcome=answers.outcomes.append)
        for _ in range(2)
    ]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    await settled(answers, 4)
    answers.gate.set()
    await settled(answers, len(tasks))
    for worker in workers:
        worker.stop()
    await asyncio.gather(*running)
    assert sorted(answers.begun) == sorted(tasks)
    assert answers.most == 4
    assert len(answers.outcomes) == len(tasks) - 1
    for task, text in zip(tasks, ["a", "b", "fail", "d", "e", "f", "g"], strict=True):
        await check(service, task, "failed" if text == "fail" else "completed", text)
    assert (await service.task(theirs[0]))["status"] == "pending"


async def test_an_answer_that_cannot_even_begin_fails_its_task(service: Store, conversation: str) -> None:
    role, ended = uuid4().hex, asyncio.Event()

    def answer(task: Row) -> AsyncIterator[str]:
        asyncio.get_running_loop().call_later(0.05, ended.set)
        raise LookupError("no such model")

    (task,) = await pending(service, conversation, role, "one")
    worker = Worker(service, answer, roles=[role], poll=0.02)
    running = asyncio.create_task(worker.run())
    await ended.wait()
    worker.stop()
    await running
    await check(service, task, "failed", "")
    assert (await service.task(task))["error"] == "LookupError"


async def test_a_stopped_worker_finishes_what_it_has_and_cancels_what_takes_too_long(
    service: Store, conversation: str
) -> None:
    role, answers = uuid4().hex, Answers()
    for count, patience, status in ((1, 20.0, "completed"), (2, 0.1, "cancelled")):
        answers.gate.clear()
        first, second = await pending(service, conversation, role, "one", "two")
        worker = Worker(service, answers, concurrency=1, roles=[role], poll=0.02, shutdown=patience)
        running = asyncio.create_task(worker.run())
        await settled(answers, count)
        worker.stop()
        if status == "completed":
            answers.gate.set()
        await running
        await check(service, first, status, "one")
        assert (await service.task(second))["status"] == "pending"
        assert await service.claim_task("nobody", 30, second)


async def test_a_cancelled_worker_records_its_tasks_as_cancelled(service: Store, conversation: str) -> None:
    role, answers = uuid4().hex, Answers()
    (task,) = await pending(service, conversation, role, "one")
    running = asyncio.create_task(Worker(service, answers, roles=[role], poll=0.02).run())
    await settled(answers, 1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await check(service, task, "cancelled", "one")


async def test_a_worker_reaps_the_tasks_of_one_that_died(service: Store, conversation: str, db: Db) -> None:
    role, answers = uuid4().hex, Answers()
    answers.gate.set()
    (task,) = await pending(service, conversation, role, "again")
    await service.claim_task("dead", 30, task)
    await lapse(db, task)
    done = asyncio.Event()
    worker = Worker(
        service, answers, roles=[role], poll=0.02, reap_every=0.05, on_outcome=lambda outcome: done.set()
    )
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(done.wait(), 10)
    worker.stop()
    await running
    await check(service, task, "completed", "again")
    assert (await service.task(task))["attempt"] == 2


async def test_a_worker_that_may_not_claim_ends_with_the_reason(stack: Any) -> None:
    async with PostgresStore(stack.database_url, as_user={"role": "anon"}) as store:
        with pytest.raises(Unauthorized):
            await asyncio.wait_for(Worker(store, Answers(), poll=0.02).run(), 10)

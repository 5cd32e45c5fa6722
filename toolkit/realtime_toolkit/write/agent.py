"""Claim a task, stream its answer, record how it ended, whatever happens.

A task belongs to one worker for one attempt, under a lease that is renewed while the work runs. A
worker that dies stops renewing; the reaper gives the task back with the next attempt, and the
database refuses whatever the old attempt still sends.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict, Unpack
from uuid import UUID, uuid4, uuid5

from realtime_toolkit.errors import IllegalTransition, StaleAttempt, ToolkitError
from realtime_toolkit.model import Status
from realtime_toolkit.retry import persist
from realtime_toolkit.tasks import see_through, to_its_end
from realtime_toolkit.write.chunking import Outbox
from realtime_toolkit.write.updater import ThrottledMessageUpdater

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine

    from realtime_toolkit.model import Row
    from realtime_toolkit.store import Store
    from realtime_toolkit.write.chunking import Mode

log = logging.getLogger(__name__)

_TOKEN = re.compile(r"\s{0,8}\S{1,12}|\s{1,8}")
_ERROR_LENGTH = 500
LEASE_SECONDS, GRACE, PATIENCE = 30, 5.0, 300.0
_LONGEST_RENEWAL = 5.0  # seconds; also how late a cancellation in the database is noticed


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a task ended."""

    status: Status
    task_id: str
    message_id: str
    attempt: int
    length: int
    """Code points of the answer."""
    writes: int
    """Flushes it took."""


class RunOptions(TypedDict, total=False):
    """How a task is run."""

    mode: Mode
    interval: float | None
    """Seconds between two writes; see :class:`~realtime_toolkit.write.updater.ThrottledMessageUpdater`."""
    lease_seconds: int
    """How long the task stays with a worker that died. 30 by default."""
    grace: float
    """Seconds for the last writes of a cancelled run. 5 by default."""
    patience: float
    """Seconds for which a write that fails for a passing reason is repeated. 300 by default."""


async def stream_text(
    store: Store,
    conversation: str,
    tokens: AsyncIterable[str],
    *,
    prompt: str = "",
    agent_role: str = "stream",
    **options: Unpack[RunOptions],
) -> Outcome:
    """Make a task in the conversation and run it here; see :func:`run_task`.

    The role is one that a :class:`Worker` does not look for unless it is told to.
    """
    worker = worker_name()

    async def claim() -> Row:
        task = await store.create_task(conversation, agent_role=agent_role, prompt=prompt)
        return await _claim(store, task["id"], worker, options)

    return await _run(store, claim(), tokens, worker, options)


async def run_task(
    store: Store,
    task: str,
    tokens: AsyncIterable[str],
    *,
    worker: str | None = None,
    **options: Unpack[RunOptions],
) -> Outcome:
    """Claim a pending task and stream ``tokens`` into its assistant message.

    The end is recorded on the message and the task: ``completed``; ``failed`` where the iterator raised
    (the task gets a short text, the caller the exception); ``cancelled`` where this call was cancelled,
    or where somebody set the task or the message ``cancelled`` in the database: that is noticed within
    5 s or at the next write, stops the work, and returns. ``tokens`` is closed in every case.

    Raises :class:`~realtime_toolkit.errors.IllegalTransition` for a task that is not pending, and
    :class:`~realtime_toolkit.errors.StaleAttempt` when another worker has taken it over.
    """
    worker = worker or worker_name()
    return await _run(store, _claim(store, task, worker, options), tokens, worker, options)


async def _run(
    store: Store,
    claim: Coroutine[Any, Any, Row],
    tokens: AsyncIterable[str],
    worker: str,
    options: RunOptions,
) -> Outcome:
    async with closing(tokens):
        # Whoever is cancelled while claiming must know what was claimed, to record the end of it.
        task, cancelled = await to_its_end(claim, grace=options.get("grace", GRACE))
        return await Run(store, task, worker, options).to_the_end(tokens, cancelled=cancelled)


async def _claim(store: Store, task: str, worker: str, options: RunOptions) -> Row:
    """A claim of a named task may be repeated: it is renewed for the worker that has it."""
    claim = partial(store.claim_task, worker, options.get("lease_seconds", LEASE_SECONDS), task)
    claimed = await persist(claim, patience=options.get("patience", PATIENCE))
    if claimed is None:
        found = await store.task(task)
        raise IllegalTransition(f"task {task} is {found['status']}, not pending")
    return claimed


async def paced(text: str | AsyncIterable[str], rate: float | None = None) -> AsyncIterator[str]:
    """Word-like tokens of a text, or of its pieces as they come, ``rate`` a second; no character is lost."""
    clock = asyncio.get_running_loop().time
    due = clock()
    async for piece in _pieces(text):
        for token in _TOKEN.findall(piece):
            if rate is not None:
                due = max(due, clock() - 0.1) + 1 / rate  # no burst to make up for a source that stood still
            await asyncio.sleep(due - clock() if rate is not None else 0)
            yield token


def worker_name() -> str:
    """A name that no other worker has: host, process, and a few random digits."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:6]}"


class _CancelledInDatabase(Exception):
    """Somebody set the task cancelled; never leaves this module."""


class Run:
    """One attempt at one claimed task."""

    def __init__(self, store: Store, task: Row, worker: str, options: RunOptions) -> None:
        self._store = store
        self._task: str = task["id"]
        self._conversation: str = task["conversation_id"]
        self._attempt = int(task["attempt"])
        self._worker = worker
        self._mode: Mode = options.get("mode", "chunks")
        self._interval = options.get("interval")
        self._lease_seconds = options.get("lease_seconds", LEASE_SECONDS)
        self._grace = options.get("grace", GRACE)
        self._patience = options.get("patience", PATIENCE)
        self._message = ""
        self._updater: ThrottledMessageUpdater | None = None

    async def to_the_end(
        self, tokens: AsyncIterable[str], *, cancelled: asyncio.CancelledError | None = None
    ) -> Outcome:
        try:
            if cancelled is not None:
                raise cancelled
            async with self._lease():
                status = await self._stream(tokens)
        except _CancelledInDatabase:
            return self._outcome(Status.CANCELLED)  # the task says so already
        except StaleAttempt:
            raise  # it is somebody else's now
        except Exception as error:
            await self._record_quietly(Status.FAILED, in_short(error))
            raise
        except BaseException:
            await self._record_quietly(Status.CANCELLED)
            raise
        return self._outcome(await self._conclude(status))

    async def _conclude(self, status: Status) -> Status:
        try:
            await self._record(status)
        except IllegalTransition:  # somebody ended the task in the last moment
            return Status((await self._store.task(self._task))["status"])
        return status

    async def _stream(self, tokens: AsyncIterable[str]) -> Status:
        message, cancelled = await to_its_end(self._persist(self._answer), grace=self._grace)
        self._message = message["id"]
        if (status := Status(message["status"])).final:
            return status  # the attempt before stored the answer, and died before it could say so
        self._updater = ThrottledMessageUpdater(
            self._store,
            self._message,
            attempt=self._attempt,
            mode=self._mode,
            interval=self._interval,
            grace=self._grace,
            patience=self._patience,
        )
        try:
            async with self._updater as answer:
                if cancelled is not None:  # while the message was made: so it must end, too
                    raise cancelled
                async for token in tokens:
                    await answer.append(token)
        except IllegalTransition:
            if (await self._store.message(self._message))["status"] != Status.CANCELLED:
                raise
            return Status.CANCELLED
        return Status.COMPLETED

    async def _answer(self) -> Row:
        """The task's message, made if it has none; its id follows from the task's, so it is made once."""
        found = await self._store.answer_of(self._task)
        return found or await self._store.create_message(
            self._conversation,
            task=self._task,
            attempt=self._attempt,
            id=str(uuid5(UUID(self._task), "answer")),
        )

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[None]:
        """Renew the lease meanwhile; cancels the block and raises the reason when it is ours no more."""
        owner = asyncio.current_task()
        assert owner is not None
        before = owner.cancelling()
        reasons: list[Exception] = []

        async def keep() -> None:
            reasons.append(await self._lost())
            owner.cancel()

        keeper = asyncio.create_task(keep(), name=f"lease of task {self._task}")
        try:
            yield
        except asyncio.CancelledError:
            if reasons and owner.uncancel() <= before:
                raise reasons[0] from None
            raise
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def _lost(self) -> Exception:
        """Renew until the task is not ours to run any more; why."""
        while True:
            await asyncio.sleep(min(_LONGEST_RENEWAL, self._lease_seconds / 3))
            try:
                renewed = await self._store.renew_task(
                    self._task, self._worker, self._attempt, self._lease_seconds
                )
            except ToolkitError as error:
                if not error.retryable:
                    return error
                log.warning("%s", error)  # writes are fenced by the attempt, not by our clock
                continue
            if renewed["status"] == Status.CANCELLED:
                return _CancelledInDatabase()

    async def _record(self, status: Status, error: str | None = None) -> None:
        finish = partial(self._store.finish_task, self._task, self._worker, self._attempt, status, error)
        hurry = status is Status.CANCELLED
        await see_through(self._persist(finish), grace=self._grace, hurry=hurry)

    async def _record_quietly(self, status: Status, error: str | None = None) -> None:
        """While an exception is on its way, which matters more than one of ours."""
        try:
            await self._record(status, error)
        except Exception as failure:
            log.error("task %s could not be recorded as %s: %s", self._task, status, failure)

    def _persist(self, call: Callable[[], Any]) -> Any:
        return persist(call, patience=self._patience)

    def _outcome(self, status: Status) -> Outcome:
        done = self._updater
        return Outcome(
            status,
            self._task,
            self._message,
            self._attempt,
            done.length if done else 0,
            done.writes if done else 0,
        )


@asynccontextmanager
async def closing(tokens: AsyncIterable[str]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if (aclose := getattr(tokens, "aclose", None)) is not None:
            await aclose()


async def _pieces(text: str | AsyncIterable[str]) -> AsyncIterator[str]:
    if isinstance(text, str):
        yield text
    else:
        async for piece in text:
            yield piece


def in_short(error: Exception) -> str:
    """One line that Postgres can store."""
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return Outbox().add(line[:_ERROR_LENGTH], final=True)

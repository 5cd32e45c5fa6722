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
from uuid import uuid4

from realtime_toolkit.errors import IllegalTransition, InputError, StaleAttempt
from realtime_toolkit.model import Status
from realtime_toolkit.retry import Outage, in_short, is_final, persist
from realtime_toolkit.scrub import scrub
from realtime_toolkit.tasks import NotOursError, end, see_through, spawn, theirs, to_its_end
from realtime_toolkit.write.chunking import INTERVAL, Outbox
from realtime_toolkit.write.texts import closing, stream_of, texts
from realtime_toolkit.write.updater import ThrottledMessageUpdater

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine
    from typing import TypeVar

    T = TypeVar("T")

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
    on_error: Callable[[Exception], str]
    """What the user may read of a failure, in the task's ``error``. By default the exception's class alone: its text
    may quote keys and addresses, and goes to the log, scrubbed."""


def checked(options: RunOptions) -> RunOptions:
    """Raises :class:`InputError`: an option that is misspelt would be one that is ignored."""
    if unknown := options.keys() - RunOptions.__annotations__.keys():
        raise InputError(f"there is no option {', '.join(sorted(unknown))}")
    if (mode := options.get("mode", "chunks")) not in INTERVAL:
        raise InputError(f"mode is chunks or row, not {mode!r}")
    lease = options.get("lease_seconds", LEASE_SECONDS)
    if not isinstance(lease, int) or not 1 <= lease < 2**31:
        raise InputError(f"lease_seconds is a whole number of seconds, at least 1, not {lease!r}")
    return options


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
    stream_of(tokens, "tokens")

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
    (the caller gets the exception, the task what ``on_error`` makes of it); ``cancelled`` where this call was
    cancelled, or where somebody set the task or the message ``cancelled`` in the database: that is noticed at the next
    write, or within 5 s, stops the work, and returns. ``tokens`` is closed in every case.

    Raises :class:`~realtime_toolkit.errors.InputError` for tokens that are no text, :class:`~realtime_toolkit.errors.IllegalTransition` for a task that is not pending, and
    :class:`~realtime_toolkit.errors.StaleAttempt` when another worker has taken it over.
    """
    worker = worker or worker_name()
    stream_of(tokens, "tokens")
    return await _run(store, _claim(store, task, worker, options), tokens, worker, options)


async def _run(
    store: Store,
    claim: Coroutine[Any, Any, Row],
    tokens: AsyncIterable[str],
    worker: str,
    options: RunOptions,
) -> Outcome:
    grace = options.get("grace", GRACE)
    async with closing(tokens, grace):
        checked(options)
        # Whoever is cancelled while claiming must know what was claimed, to record the end of it.
        task, cancelled = await to_its_end(claim, grace=grace)
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
    """A name that no other worker has. Users see it, so what it stands for is told to the log alone."""
    name = f"worker-{uuid4().hex[:12]}"
    log.info("%s is process %s on %s", name, os.getpid(), socket.gethostname())
    return name


class _EndedInDatabase(Exception):
    """Somebody ended the task; never leaves this module."""

    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status = status


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
        self._on_error = options.get("on_error")
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
        except _EndedInDatabase as ended:
            return self._outcome(ended.status)
        except StaleAttempt:
            raise  # it is somebody else's now
        except Exception as error:
            await self._record_quietly(Status.FAILED, await self._shown(error))
            raise
        except BaseException:
            await self._record_quietly(Status.CANCELLED)
            raise
        return self._outcome(await self._conclude(status))

    async def _conclude(self, status: Status) -> Status:
        try:
            await self._record(status)
        except IllegalTransition:  # somebody ended the task in the last moment
            return await self._status()
        return status

    async def _stream(self, tokens: AsyncIterable[str]) -> Status:
        begin = partial(self._store.begin_answer, self._task, self._worker, self._attempt)
        try:
            message, cancelled = await to_its_end(self._persist(begin), grace=self._grace)
            self._message = message["id"]
            if (status := Status(message["status"])).final:
                return status  # the attempt before stored the answer, and died before it could say so
            if cancelled is not None:
                raise cancelled  # what ends the task ends the message, too
            await self._write(tokens)
        except IllegalTransition:
            if (ended := await self._ended_by_somebody()) is None:
                raise
            return ended
        return Status.COMPLETED

    async def _write(self, tokens: AsyncIterable[str]) -> None:
        self._updater = ThrottledMessageUpdater(
            self._store,
            self._message,
            attempt=self._attempt,
            mode=self._mode,
            interval=self._interval,
            grace=self._grace,
            patience=self._patience,
        )
        async with self._updater as answer:
            async for token in texts(tokens, "the token stream"):
                await answer.append(token)

    async def _ended_by_somebody(self) -> Status | None:
        """How the task ended, or its message alone."""
        if (status := await self._status()).final:
            return status
        if self._message:
            message = await self._persist(partial(self._store.message, self._message))
            if message["status"] == Status.CANCELLED:
                return Status.CANCELLED
        return None

    async def _status(self) -> Status:
        return Status((await self._persist(partial(self._store.task, self._task)))["status"])

    @asynccontextmanager
    async def _lease(self) -> AsyncIterator[None]:
        """Renew the lease meanwhile; cancels the block and raises the reason when it is ours no more."""
        owner = asyncio.current_task()
        assert owner is not None
        before = owner.cancelling()
        reasons: list[Exception] = []
        over = False

        def ended(error: BaseException | None) -> None:
            if not over:
                reasons.append(
                    error
                    if isinstance(error, Exception)
                    else NotOursError("the lease's keeper was cancelled")
                )
                owner.cancel()

        keeper = spawn(self._keep_lease(), f"lease of task {self._task}", ended)
        try:
            yield
        except BaseException as error:
            if reasons and owner.uncancel() <= before:
                raise reasons[0] from error
            raise
        else:
            if reasons:  # it would not hear of it, and has come to its end
                owner.uncancel()
        finally:
            over = True
            await end([keeper])

    async def _keep_lease(self) -> None:
        """Renew until the task is not ours to run any more; raises why."""
        outage = Outage(f"renewing the lease of task {self._task}")
        pause = self._renew_every
        while True:
            await asyncio.sleep(pause)
            try:
                renewed = await theirs(self._renew, "renewing the lease", within=self._lease_seconds)
            except Exception as error:
                if is_final(error):
                    raise
                # Writes are fenced by the attempt, not by our clock.
                pause = min(self._renew_every, outage.pause(error))
                continue
            outage.over()
            pause = self._renew_every
            if (status := Status(renewed["status"])).final:
                raise _EndedInDatabase(status)

    def _renew(self) -> Awaitable[Row]:
        return self._store.renew_task(self._task, self._worker, self._attempt, self._lease_seconds)

    @property
    def _renew_every(self) -> float:
        return min(_LONGEST_RENEWAL, self._lease_seconds / 3)

    async def _shown(self, error: Exception) -> str:
        """What the user may read of it; the rest is for the log."""
        log.info("task %s failed: %s", self._task, scrub(in_short(error)))
        cause = error.__cause__ if isinstance(error, NotOursError) else None
        shown = type(cause or error).__name__
        if self._on_error is None:
            return shown
        try:
            told = await theirs(partial(self._on_error, error), "on_error", within=self._grace)
        except Exception as failure:
            log.error("task %s: on_error failed: %s", self._task, scrub(in_short(failure)))
            return shown
        return _storable(told) if isinstance(told, str) and told.strip() else shown

    async def _record(self, status: Status, error: str | None = None) -> None:
        finish = partial(self._store.finish_task, self._task, self._worker, self._attempt, status, error)
        hurry = status is Status.CANCELLED
        await see_through(self._persist(finish), grace=self._grace, hurry=hurry)

    async def _record_quietly(self, status: Status, error: str | None = None) -> None:
        """While an exception is on its way, which matters more than one of ours."""
        try:
            await self._record(status, error)
        except IllegalTransition as failure:
            log.info("task %s was ended by somebody else: %s", self._task, failure)
        except Exception as failure:
            log.error("task %s could not be recorded as %s: %s", self._task, status, failure)

    def _persist(self, call: Callable[[], Awaitable[T]]) -> Coroutine[Any, Any, T]:
        return persist(call, patience=self._patience, worked=True)  # it was claimed

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


async def _pieces(text: str | AsyncIterable[str]) -> AsyncIterator[str]:
    if isinstance(text, str):
        yield text
    else:
        async for piece in text:
            yield piece


def _storable(text: str) -> str:
    """One line that Postgres can store."""
    return Outbox().add(" ".join(text.split())[:_ERROR_LENGTH], final=True)

"""Claims tasks and runs them, as many at once as it is told to, until it is stopped; reaps those of the dead."""

from __future__ import annotations

import asyncio
import logging
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from realtime_toolkit.errors import InputError, SchemaError, ToolkitError
from realtime_toolkit.retry import Outage, in_short, is_final
from realtime_toolkit.scrub import scrub
from realtime_toolkit.tasks import NotOursError, end, happens, race, spawn, theirs
from realtime_toolkit.write.agent import GRACE, LEASE_SECONDS, Run, checked, worker_name
from realtime_toolkit.write.texts import closing, stream_of, texts

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence

    from realtime_toolkit.model import Row
    from realtime_toolkit.store import Store
    from realtime_toolkit.write.agent import Outcome, RunOptions

log = logging.getLogger(__name__)


class Worker:
    """Claims pending tasks and runs them, ``concurrency`` at once, until :meth:`stop`.

    ``answer`` is called with the task's row and gives its tokens: an async generator, or a coroutine of one. ``roles``
    are the ``agent_role``s to look for, ``None`` for any. Tasks of workers that died are reaped every ``reap_every``
    seconds. ``on_outcome`` (sync or async) hears of each task that came to its end.

    Whatever ``answer`` and ``on_outcome`` do, it goes on to the next task; a store that is away is tried until it is
    back.
    """

    def __init__(
        self,
        store: Store,
        answer: Callable[[Row], AsyncIterable[str] | Awaitable[AsyncIterable[str]]],
        *,
        concurrency: int = 4,
        roles: Sequence[str] | None = ("assistant",),
        poll: float = 1.0,
        reap_every: float = 10.0,
        shutdown: float = 30.0,
        on_outcome: Callable[[Outcome], Any] = lambda outcome: None,
        name: str | None = None,
        **options: Unpack[RunOptions],
    ) -> None:
        if concurrency < 1:
            raise InputError(f"concurrency is at least 1, not {concurrency}")
        if isinstance(roles, str):
            raise InputError(f"roles is a list of roles, not the text {roles!r}")
        self._store = store
        self._answer = answer
        self._concurrency = concurrency
        self._roles = roles
        self._poll = poll
        self._reap_every = reap_every
        self._shutdown = shutdown
        self._on_outcome = on_outcome
        self._options = checked(options)
        self._name = name or worker_name()
        self._grace = options.get("grace", GRACE)
        self._claiming = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._outage = Outage(f"{self._name}: claiming tasks", base=max(poll, 0.1))
        self._has_claimed = False
        self._ending = False
        self._fatal: BaseException | None = None

    def __repr__(self) -> str:
        state = "stopping" if self._stopping.is_set() else f"{self._concurrency} at once"
        return f"<Worker {self._name} on {self._store.where}, {state}>"

    def stop(self) -> None:
        """Claim no more; what runs has ``shutdown`` seconds to finish, and is cancelled then."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped. A cancellation cancels the tasks that run, and records that.

        Raises what makes claiming senseless (the caller's own mistake: a wrong key, an address that is none, a
        database without our migrations), after the tasks that run have ended. Where a callable gives the tokens, a
        refused one is no mistake: it is asked again.
        """
        slots = [
            spawn(self._slot(), f"{self._name}, slot {number}", self._part_ended)
            for number in range(self._concurrency)
        ]
        reaper = spawn(self._reap(), f"{self._name}, reaper", self._part_ended)
        try:
            await self._stopping.wait()
            await asyncio.wait(slots, timeout=self._shutdown)
        finally:
            self._ending = True
            await end([reaper, *slots])
        if self._fatal is not None:
            raise self._fatal

    def _part_ended(self, error: BaseException | None) -> None:
        """No slot and no reaper ends without a word, unless the worker does."""
        if error is None or self._ending:
            return
        if isinstance(error, asyncio.CancelledError):
            error = NotOursError(f"a part of {self._name} was cancelled, and not by us")
        log.error("%s ends: %s", self._name, scrub(in_short(error)))
        self._fatal = self._fatal or error
        self.stop()

    async def _slot(self) -> None:
        while (task := await self._next()) is not None:
            try:
                await race([self._work(task)])  # a task of its own, which may be cancelled from inside
            except NotOursError as error:
                log.error("task %s: %s", task["id"], error)

    async def _next(self) -> Row | None:
        """The next task; only one slot at a time asks. ``None`` when stopping."""
        async with self._claiming:
            while not self._stopping.is_set():
                if (task := await self._claim()) is not None:
                    return task
        return None

    async def _claim(self) -> Row | None:
        """A task, or ``None`` after a pause."""
        try:
            task = await theirs(self._ask, "claiming a task")
        except Exception as error:
            if is_final(error) or (isinstance(error, SchemaError) and not self._has_claimed):
                raise
            await happens(self._stopping, self._outage.pause(error))
            return None
        self._outage.over()
        self._has_claimed = True
        if task is None:
            await happens(self._stopping, self._poll)
        return task

    def _ask(self) -> Awaitable[Row | None]:
        lease_seconds = self._options.get("lease_seconds", LEASE_SECONDS)
        return self._store.claim_task(self._name, lease_seconds, roles=self._roles)

    async def _work(self, task: Row) -> None:
        tokens = self._tokens(task)
        try:
            async with closing(tokens, self._grace):
                outcome = await Run(self._store, task, self._name, self._options).to_the_end(tokens)
                await theirs(partial(self._on_outcome, outcome), "on_outcome", within=self._grace)
        except ToolkitError as error:
            log.error("task %s: %s", task["id"], scrub(in_short(error)))
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # nobody else will ever see it
            log.error("task %s: %s", task["id"], scrub("".join(traceback.format_exception(error))))

    async def _tokens(self, task: Row) -> AsyncIterator[str]:
        """Asked for only when the run has begun, so that an ``answer`` that raises fails the task."""
        given: Any = await theirs(partial(self._answer, task), "answer")
        async with closing(given, self._grace):
            async for token in texts(stream_of(given, "what answer gives"), "the token stream"):
                yield token

    async def _reap(self) -> None:
        outage = Outage(f"{self._name}: reaping")
        while True:
            try:
                if reaped := await theirs(self._store.reap_tasks, "reaping"):
                    log.warning("given back, their workers' leases ran out: %s", ", ".join(reaped))
                outage.over()
                await asyncio.sleep(self._reap_every)
            except Exception as error:
                await asyncio.sleep(outage.pause(error))

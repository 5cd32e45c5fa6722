"""Claims tasks and runs them, as many at once as it is told to, until it is stopped; reaps those of the dead."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Unpack

from realtime_toolkit.errors import ToolkitError
from realtime_toolkit.write.agent import LEASE_SECONDS, Run, closing, in_short, worker_name

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence

    from realtime_toolkit.model import Row
    from realtime_toolkit.store import Store
    from realtime_toolkit.write.agent import Outcome, RunOptions

log = logging.getLogger(__name__)


class Worker:
    """Claims pending tasks and runs them, ``concurrency`` at once, until :meth:`stop`.

    ``answer`` is called with the task's row and returns its tokens. ``roles`` are the ``agent_role``s to
    look for, ``None`` for any. Tasks of workers that died are reaped every ``reap_every`` seconds.
    """

    def __init__(
        self,
        store: Store,
        answer: Callable[[Row], AsyncIterable[str]],
        *,
        concurrency: int = 4,
        roles: Sequence[str] | None = ("assistant",),
        poll: float = 1.0,
        reap_every: float = 10.0,
        shutdown: float = 30.0,
        on_outcome: Callable[[Outcome], None] = lambda outcome: None,
        name: str | None = None,
        **options: Unpack[RunOptions],
    ) -> None:
        self._store = store
        self._answer = answer
        self._concurrency = concurrency
        self._roles = roles
        self._poll = poll
        self._reap_every = reap_every
        self._shutdown = shutdown
        self._on_outcome = on_outcome
        self._name = name or worker_name()
        self._options = options
        self._claiming = asyncio.Lock()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Claim no more; what runs has ``shutdown`` seconds to finish, and is cancelled then."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until stopped. A cancellation cancels the tasks that run, and records that.

        Raises what makes claiming senseless, such as :class:`~realtime_toolkit.errors.Unauthorized`, after
        the tasks that run have ended.
        """
        slots = [asyncio.create_task(self._slot()) for _ in range(self._concurrency)]
        reaper = asyncio.create_task(self._reap())
        try:
            await self._stopping.wait()
            await asyncio.wait(slots, timeout=self._shutdown)
        finally:
            for task in (reaper, *slots):
                task.cancel()
            ended = await asyncio.gather(*slots, reaper, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _slot(self) -> None:
        while (task := await self._next()) is not None:
            await self._work(task)

    async def _next(self) -> Row | None:
        """The next task; only one slot at a time asks. ``None`` when stopping."""
        async with self._claiming:
            while not self._stopping.is_set():
                if (task := await self._claim()) is not None:
                    return task
                await _sleep_unless(self._stopping, self._poll)
        return None

    async def _claim(self) -> Row | None:
        try:
            lease_seconds = self._options.get("lease_seconds", LEASE_SECONDS)
            return await self._store.claim_task(self._name, lease_seconds, roles=self._roles)
        except ToolkitError as error:
            if not error.retryable:
                self.stop()
                raise
            log.warning("%s", error)
            return None

    async def _work(self, task: Row) -> None:
        tokens = self._tokens(task)
        try:
            async with closing(tokens):
                run = Run(self._store, task, self._name, self._options)
                self._on_outcome(await run.to_the_end(tokens))
        except Exception as error:
            log.error("task %s: %s", task["id"], in_short(error))

    async def _tokens(self, task: Row) -> AsyncIterator[str]:
        """Asked for only when the run has begun, so that an ``answer`` that raises fails the task."""
        tokens = self._answer(task)
        async with closing(tokens):
            async for token in tokens:
                yield token

    async def _reap(self) -> None:
        while True:
            try:
                if reaped := await self._store.reap_tasks():
                    log.warning("given back, their workers' leases ran out: %s", ", ".join(reaped))
            except ToolkitError as error:
                log.warning("%s", error)
            await asyncio.sleep(self._reap_every)


async def _sleep_unless(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass

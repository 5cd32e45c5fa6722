"""Keeps a replica whole while a session lives: syncs for every reason there is, and compares once in a while."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING, Any

from realtime_toolkit.errors import InputError, ToolkitError
from realtime_toolkit.events import Lost, Recovered, Resynced, RowChanged
from realtime_toolkit.model import RowRef, canonical_key
from realtime_toolkit.replica.recovery import AskDigest, AskRows, AskSync, recover, resolve_doubts
from realtime_toolkit.replica.transcript import MESSAGES
from realtime_toolkit.retry import backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_toolkit.follow.inbox import Inbox
    from realtime_toolkit.follow.session import Timing
    from realtime_toolkit.follow.source import Source
    from realtime_toolkit.replica.recovery import Ask, Recovery
    from realtime_toolkit.replica.replica import Replica

log = logging.getLogger(__name__)

Hole = tuple[str, int]
"""(message id, position of the character that is missing)"""

_REGULAR = "regular comparison"
_BURST = 1000
"""Changes after which a comparison is brought forward: above its rate limit Realtime drops them silently."""


def next_interval(interval: float, longest: float, *, lossy: bool) -> float:
    """Seconds to the next regular comparison: soon after one that found a loss, then doubling."""
    return longest / 16 if lossy else min(longest, interval * 2)


class Keeper:
    """``note(reason, **facts)`` is told what becomes of the facts ``whole`` and ``failure``."""

    def __init__(
        self,
        replica: Replica,
        source: Source,
        inbox: Inbox,
        *,
        timing: Timing,
        page_size: int,
        note: Callable[..., None],
    ) -> None:
        self._replica, self._source, self._inbox, self._note = replica, source, inbox, note
        self._timing, self._page_size = timing, page_size
        self._reasons: dict[str, None] = {}
        self._woken = asyncio.Event()
        self._done = asyncio.Event()
        self._interval = timing.check
        self._check_at = 0.0
        self._heard = 0
        self._hole_at: float | None = None
        self._hopeless: set[Hole] = set()
        self._recovered = 0
        self.syncs = 0

    def ask(self, reason: str) -> asyncio.Event:
        """Sync soon; the event is set when one that began after this has agreed with the database."""
        self._reasons[reason] = None
        self._woken.set()
        return self._done

    def heard(self) -> None:
        """The stream has brought a change, which may have left a doubt or a hole."""
        self._heard += 1
        if self._heard % _BURST == 0:
            self._plan_check(self._timing.check / 16)
        if self._replica.doubts:
            self._woken.set()
        if self._hole_at is None and self._holes():
            self._hole_at = asyncio.get_running_loop().time() + self._timing.hole
            self._woken.set()

    async def run(self) -> None:
        """Until cancelled; raises only what is the caller's own mistake (:class:`InputError`)."""
        pauses = backoff(self._timing.refetch, 30.0, lambda: 1.0)
        self._interval, self._check_at = self._timing.check, 0.0
        self._plan_check(self._interval)
        while True:
            try:
                await self._wait()
                await self._inbox.room()
                await self._catch_up()
                pauses = backoff(self._timing.refetch, 30.0, lambda: 1.0)
            except InputError:
                raise
            except Exception as error:
                self._failed(error)
                await asyncio.sleep(next(pauses))

    def _failed(self, error: Exception) -> None:
        known = isinstance(error, ToolkitError)
        log.log(logging.WARNING if known else logging.ERROR, "sync failed: %s", error, exc_info=not known)
        failure = error if known else ToolkitError(f"sync failed: {error!r}")
        self.ask("a sync had failed")
        self._note(f"sync failed: {error}", whole=False, failure=failure)

    async def _wait(self) -> None:
        until = self._check_at if self._hole_at is None else min(self._check_at, self._hole_at)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._woken.wait()
        self._woken.clear()

    async def _catch_up(self) -> None:
        if reason := self._due():
            await self._sync(reason)
        elif self._replica.doubts:
            settled = await self._drive(resolve_doubts(self._replica))
            self._report_recovered()
            if not settled:
                await asyncio.sleep(0.05)  # keys that change faster than they can be asked for
                self._woken.set()

    def _due(self) -> str:
        """Why to sync now; empty if there is no reason."""
        reasons, self._reasons = list(self._reasons), {}
        now = asyncio.get_running_loop().time()
        if self._hole_at is not None and now >= self._hole_at:
            self._hole_at = None
            messages = sorted(message for message, _ in self._holes())
            reasons += [f"a hole in the text of {', '.join(messages)}"] if messages else []
        if not reasons and now >= self._check_at:
            reasons = [_REGULAR]
        return ", ".join(reasons)

    def _plan_check(self, seconds: float) -> None:
        """Compare after so many seconds ± 20 %, or when it was planned already, if that is earlier."""
        planned = asyncio.get_running_loop().time() + seconds * random.uniform(0.8, 1.2)
        self._check_at = min(self._check_at or planned, planned)
        self._woken.set()

    async def _sync(self, reason: str) -> None:
        holes = self._holes()
        agreed = await self._drive(recover(self._replica))
        self.syncs += 1
        lossy = reason == _REGULAR and self._recovered > 0
        self._interval, self._check_at = next_interval(self._interval, self._timing.check, lossy=lossy), 0.0
        self._plan_check(self._interval)
        self._give_up(holes & self._holes())
        self._report_recovered()
        if not agreed:
            raise ToolkitError(
                "the digests differ, but no row does: are toolkit and migrations of one version?"
            )
        self._inbox.put([Resynced(reason)])
        if not self._reasons:  # nothing has come up meanwhile
            self._done.set()
            self._done = asyncio.Event()
            self._note(f"in step with the database: {reason}", whole=True, failure=None)

    def _report_recovered(self) -> None:
        if self._recovered:
            self._inbox.put([Recovered(self._recovered)])
        self._recovered = 0

    async def _drive(self, recovery: Recovery) -> bool:
        """Ask the recovery's questions and pass its events on."""
        answer: Any = None
        while True:
            try:
                item = recovery.send(answer)
            except StopIteration as end:
                return bool(end.value)
            if isinstance(item, list):
                answer = None
                self._recovered += sum(
                    isinstance(event, RowChanged) and event.via == "sync" for event in item
                )
                self._inbox.put(item)
                await asyncio.sleep(0)  # stream and heartbeats come first
                await self._inbox.room()
            else:
                answer = await self._answer(item)

    async def _answer(self, ask: Ask) -> Any:
        scope = self._replica.scope
        match ask:
            case AskSync(since, epoch, after):
                return await self._source.sync(scope, since, epoch, self._page_size, after)
            case AskDigest(prefixes):
                self._note("differs from the database", whole=False)
                return await self._source.digest(scope, prefixes)
            case AskRows(prefixes, keys_only):
                return (await self._source.rows(scope, prefixes, keys_only))[1]

    def _holes(self) -> set[Hole]:
        """Where text is missing, without the places where the database has none either."""
        return set(self._replica.holes().items()) - self._hopeless

    def _give_up(self, holes: set[Hole]) -> None:
        """These were there before a sync and still are: the chunks are nowhere."""
        for message, position in sorted(holes):
            row = RowRef(MESSAGES, canonical_key([message]))
            self._inbox.put(
                [Lost((row,), f"the text of message {message} breaks off at character {position}")]
            )
        self._hopeless |= holes

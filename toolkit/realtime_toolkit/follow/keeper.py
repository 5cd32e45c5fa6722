"""Keeps a replica whole while a session lives: syncs for every reason there is, and compares all the time.

A comparison asks the database for the digest of all that is visible, and looks whether the copy has it, or had it
since the question was sent, or comes to have it within a moment: what a server that polls still has in flight is no
loss. What the stream has not brought when a mark sent later has passed is lost. How often is a matter of budget:
at most 1 % of one core of the database.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from typing import TYPE_CHECKING, Any

from realtime_toolkit.errors import ToolkitError, Unreachable
from realtime_toolkit.events import Lost, Recovered, Resynced, RowChanged
from realtime_toolkit.model import RowRef, canonical_key
from realtime_toolkit.replica.recovery import AskDigest, AskRows, AskSync, recover, resolve_doubts
from realtime_toolkit.replica.transcript import MESSAGES
from realtime_toolkit.retry import backoff
from realtime_toolkit.tasks import Deadline, NotOursError, happens, theirs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from realtime_toolkit.follow.inbox import Inbox
    from realtime_toolkit.follow.session import Timing
    from realtime_toolkit.follow.source import Source
    from realtime_toolkit.model import Digest, Glance, SyncPage
    from realtime_toolkit.replica.recovery import Ask, Recovery
    from realtime_toolkit.replica.replica import Replica

log = logging.getLogger(__name__)

Hole = tuple[str, int]
"""(message id, position of the character that is missing)"""

_SHARE = 0.01
"""Of one core of the database, at most, for the comparisons of one listener."""
_SOONEST, _LATEST = 2.0, 60.0
_SILENT = 2.0
"""Seconds after which a comparison that is not answered takes ``synced`` back."""
_PASSES = 1.2
"""Seconds that a mark is given to pass."""
_SEEN = 100_000
"""How many digests are remembered while a comparison is not answered."""


class OtherShapeError(Unreachable):
    """Other tables, columns or rights than those that were learnt: to be learnt anew, in another session."""


def interval(costs: deque[float], fixed: float | None) -> float:
    """Seconds to the next comparison. The cheapest of the last few tells what one costs; the others had to wait."""
    if fixed is not None:
        return fixed
    return min(max(min(costs, default=0.0) / _SHARE, _SOONEST), _LATEST)


class Sightings:
    """The digests that a copy has had since a question was sent; :meth:`saw` is called with each."""

    def __init__(self, now: Digest) -> None:
        self._had = {now}
        self._wanted: Digest | None = None
        self.found = asyncio.Event()

    def saw(self, digest: Digest) -> None:
        if self._wanted is None:
            if len(self._had) >= _SEEN:
                self._had.clear()  # the next comparison will be answered sooner
            self._had.add(digest)
        elif digest == self._wanted:
            self.found.set()

    def want(self, digest: Digest) -> None:
        """The answer has come: :attr:`found` is set if the copy has had it, or as soon as it does."""
        self._wanted = digest
        if digest in self._had:
            self.found.set()
        self._had.clear()


class Keeper:
    """``note(reason, **facts)`` is told what becomes of the facts ``whole`` and ``failure``.

    ``mark`` sends a watermark and calls what it is given when that passes in the stream; false if it cannot.
    ``is_final`` says which errors of the source end the listener; ``compared`` is told what each comparison cost the
    database, in seconds.
    """

    def __init__(
        self,
        replica: Replica,
        source: Source,
        inbox: Inbox,
        *,
        timing: Timing,
        page_size: int,
        note: Callable[..., None],
        mark: Callable[[Callable[[], None]], Awaitable[bool]],
        is_final: Callable[[Exception], bool],
        compared: Callable[[float], None],
    ) -> None:
        self._replica, self._source, self._inbox, self._note = replica, source, inbox, note
        self._timing, self._page_size, self._mark, self._is_final = timing, page_size, mark, is_final
        self._compared = compared
        self._reasons: dict[str, None] = {}
        self._woken = asyncio.Event()
        self._done = asyncio.Event()
        self._costs: deque[float] = deque(maxlen=5)
        self._check_at = 0.0
        self._hole_at: float | None = None
        self._hopeless: set[Hole] = set()
        self._recovered = 0
        self._sightings: Sightings | None = None
        self._epoch: str | None = None
        self._pulse: str | None = None
        self.syncs = 0

    def ask(self, reason: str) -> asyncio.Event:
        """Sync soon; the event is set when one that began after this has agreed with the database."""
        self._reasons[reason] = None
        self._woken.set()
        return self._done

    def compare_soon(self) -> None:
        """The stream shows what no comparison knows yet: columns that were not learnt."""
        self._check_at = asyncio.get_running_loop().time()
        self._woken.set()

    def heard(self) -> None:
        """The stream has brought a change, which may have left a doubt or a hole."""
        if self._sightings is not None:
            self._sightings.saw(self._replica.digest)
        if self._replica.doubts:
            self._woken.set()
        if self._replica.has_holes and self._hole_at is None and self._holes():
            self._hole_at = asyncio.get_running_loop().time() + self._timing.hole
            self._woken.set()

    async def run(self) -> None:
        """Until cancelled; raises only what is to end the session."""
        pauses = backoff(self._timing.refetch, 30.0, lambda: 1.0)
        self._epoch = self._pulse = None
        self._plan_check()
        while True:
            try:
                await self._wait()
                await self._catch_up()
                pauses = backoff(self._timing.refetch, 30.0, lambda: 1.0)
            except OtherShapeError:
                raise
            except Exception as error:
                if self._is_final(error):
                    raise
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
        await happens(self._woken, until - asyncio.get_running_loop().time())
        self._woken.clear()

    async def _catch_up(self) -> None:
        if reason := self._due():
            await self._inbox.room()
            await self._sync(reason)
        elif asyncio.get_running_loop().time() >= self._check_at:
            await self._compare()  # also while keys go on being in doubt: they are settled meanwhile
        elif self._replica.doubts:
            await self._inbox.room()
            if not await self._resolve_doubts():
                await asyncio.sleep(0.05)  # keys that change faster than they can be asked for
                self._woken.set()

    def _due(self) -> str:
        """Why to sync now; empty if there is no reason."""
        reasons, self._reasons = list(self._reasons), {}
        if self._hole_at is not None and asyncio.get_running_loop().time() >= self._hole_at:
            self._hole_at = None
            messages = sorted(message for message, _ in self._holes())
            reasons += [f"a hole in the text of {', '.join(messages)}"] if messages else []
        return ", ".join(reasons)

    def _plan_check(self) -> None:
        seconds = interval(self._costs, self._timing.check) * random.uniform(0.9, 1.1)
        self._check_at = asyncio.get_running_loop().time() + seconds

    # --- comparing ------------------------------------------------------------------------------------

    async def _compare(self) -> None:
        """Whether the copy is what the database shows, without a row being sent."""
        reason = await self._differs()
        self._plan_check()
        if reason:
            self._note(reason, whole=False)
            self.ask(reason)

    async def _differs(self) -> str:
        """Why a sync is needed; empty if none is."""
        passed = asyncio.Event()
        if await self._has_all(passed) or self._reasons:  # what has come up meanwhile leads to a sync anyway
            return ""
        if await self._has_all(passed, proven=True):
            return ""
        return (
            "rows are missing that a later mark has overtaken" if passed.is_set() else "behind the database"
        )

    async def _has_all(self, passed: asyncio.Event, *, proven: bool = False) -> bool:
        """Whether the copy comes to have what the database shows now, within a moment.

        ``proven``: a mark is sent, and when it has ``passed``, so has all that was committed before.
        """
        self._sightings = sightings = Sightings(self._replica.digest)
        try:
            seen = await self._glance()
            assert seen.digest is not None
            sightings.want(seen.digest)
            can_tell = proven and not sightings.found.is_set() and await self._mark(passed.set)
            found = await self._comes(sightings, _PASSES if can_tell else self._timing.behind, passed)
        finally:
            self._sightings = None
        if found:
            self._replica.confirm(seen.cursor)
            if not self._reasons:
                self._note("in step with the database", whole=True, failure=None)
        return found

    async def _comes(self, sightings: Sightings, seconds: float, enough: asyncio.Event) -> bool:
        """Doubts are settled meanwhile: what was asked for counts as come."""
        until = asyncio.get_running_loop().time() + seconds
        while not sightings.found.is_set() and (left := until - asyncio.get_running_loop().time()) > 0:
            if self._replica.doubts:
                settled = await self._resolve_doubts()
                sightings.saw(self._replica.digest)
                await asyncio.sleep(
                    0 if settled else 0.05
                )  # keys that change faster than they can be asked for
                continue
            if enough.is_set():
                break
            await happens(sightings.found, min(left, 0.05))
        return sightings.found.is_set()

    async def _glance(self) -> Glance:
        """Silence takes ``synced`` back: it must not outlive a comparison that never comes back."""
        late = asyncio.get_running_loop().call_later(
            _SILENT, lambda: self._note(f"the database has not answered for {_SILENT:g} s", whole=False)
        )
        try:
            seen: Glance = await self._asked(lambda: self._source.glance(self._replica.scope))
        finally:
            late.cancel()
        self._costs.append(seen.seconds)
        self._compared(seen.seconds)
        self._same_shape(seen.epoch)
        before, self._pulse = self._pulse, seen.pulse
        if before not in (None, seen.pulse):
            reason = "the database was started anew, or a replication slot was lost"
            self._note(reason, whole=False)
            self.ask(reason)
        return seen

    def _same_shape(self, epoch: str) -> None:
        if self._epoch not in (None, epoch):
            raise OtherShapeError("the tables that are followed have changed: learning them anew")
        self._epoch = epoch

    # --- syncing --------------------------------------------------------------------------------------

    async def _sync(self, reason: str) -> None:
        holes = self._holes()
        agreed = await self._drive(recover(self._replica))
        self.syncs += 1
        self._plan_check()
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

    async def _resolve_doubts(self) -> bool:
        settled = await self._drive(resolve_doubts(self._replica))
        self._report_recovered()
        return settled

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
                page: SyncPage = await self._asked(
                    lambda: self._source.sync(scope, since, epoch, self._page_size, after)
                )
                self._same_shape(page.epoch)
                if not {row.table for row in page.rows} <= self._replica.tables.keys():
                    raise OtherShapeError("a table has come to be followed: learning the tables anew")
                return page
            case AskDigest(prefixes):
                self._note("differs from the database", whole=False)
                return await self._asked(lambda: self._source.digest(scope, prefixes))
            case AskRows(prefixes, keys_only):
                return (await self._asked(lambda: self._source.rows(scope, prefixes, keys_only)))[1]

    async def _asked(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """The source is the user's: whatever it does, it ends within bounds, as an error that is tried again."""
        try:
            async with Deadline(self._timing.answer):  # in place: whoever ends us sees it end
                return await theirs(call, "the source")
        except (NotOursError, TimeoutError) as error:
            raise Unreachable(
                str(error) or f"the source did not answer for {self._timing.answer:g} s"
            ) from error

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

"""Does a subscriber have exactly what the database says it may see? Asked of the log, not of clocks.

A watermark row, addressed to the subscriber's user, goes the way of every change. Once it has come back on
the stream, all that was committed before it has been delivered, or never will be. So::

    read the digest as the subscriber ─▶ a mark passes ─▶ equal? in sync
                                              │ no: rows were changed meanwhile, or are lost
                                              ▼
                             read the rows of the parts that differ ─▶ another mark passes ─▶ compare

Only a row that the stream touched between the two marks may differ from what was read between them, and only
by being ahead of it. The parts that differ are found by bisection (16-way).

Every proof chooses a salt that goes into the hash of each row, on both sides: whoever may write in the scope cannot have
prepared rows whose hashes add up to those of lost ones.

Counts are exact because versions are dense: a row that went from version 3 to 7 made four changes. Not seen is
what happened to a row between its last known version and its deletion, and a value changed past the trigger.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from bisect import bisect_left
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from uuid import uuid4

from realtime_toolkit.errors import InputError, StoreUnavailable, ToolkitError, Unreachable
from realtime_toolkit.events import State
from realtime_toolkit.model import Digest, RowRef, Verdict, VerdictKind, key_hash, row_hash
from realtime_toolkit.replica.recovery import AskDigest, differing
from realtime_toolkit.tasks import Deadline, happens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from realtime_toolkit.follow.listener import Listener
    from realtime_toolkit.follow.source import Watermarks
    from realtime_toolkit.model import SyncedRow
    from realtime_toolkit.replica.journal import Journal, Trace
    from realtime_toolkit.replica.replica import Replica

_AGAIN = 2.0
"""Seconds after which another mark is sent: the first may have been lost like any change."""
_KEPT = 60.0
"""Seconds for which passed watermarks stay in the table."""


@dataclass(slots=True)
class Lags:
    """Round trips of watermarks: from sending the insert to its arrival on the stream, in milliseconds."""

    seen: list[float] = field(default_factory=list)

    def add(self, ms: float) -> None:
        self.seen.append(ms)

    def quantile(self, q: float) -> float | None:
        """Nearest rank; ``None`` of nothing."""
        ranked = sorted(self.seen)
        return ranked[min(len(ranked) - 1, int(q * len(ranked)))] if ranked else None

    def histogram(
        self, bounds: tuple[float, ...] = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500)
    ) -> list[int]:
        """How many were at most each bound (in ms), and above the last."""
        counts = [0] * (len(bounds) + 1)
        for ms in self.seen:
            counts[bisect_left(bounds, ms)] += 1
        return counts


async def reconcile(
    listener: Listener,
    source: Watermarks,
    *,
    timeout: float = 10.0,
    user_id: str | None = None,
    lags: Lags | None = None,
) -> Verdict:
    """Compare a running listener's copy with the database, once.

    ``timeout`` seconds without the mark make it ``lagging``. ``user_id`` is whose watermarks to write; by
    default those the listener hears of. Raises what the source raises, and :class:`InputError` where nobody's
    watermarks can be heard.
    """
    return (await Examination(listener, source, timeout, user_id, lags or Lags()).run()).verdict


async def watch(
    listener: Listener,
    source: Watermarks,
    seconds: float,
    *,
    timeout: float = 10.0,
    user_id: str | None = None,
    every: float = 1.0,
    lags: Lags | None = None,
) -> Verdict:
    """Reconcile, watch for so long, reconcile again, and count what was delivered in between.

    ``every`` so many seconds a watermark goes round as a canary, recorded in ``lags``.
    """
    exam = Examination(listener, source, timeout, user_id, lags or Lags())
    before = await exam.run()
    ledger = listener.replica.journal()
    try:
        clock = asyncio.get_running_loop().time
        until = clock() + seconds
        while (left := until - clock()) > 0:
            await asyncio.sleep(min(every, left))
            with contextlib.suppress(StoreUnavailable, Unreachable):  # only a canary
                await exam.pass_mark()
        after = await exam.run()
    finally:
        listener.replica.close(ledger)
    return _counted(_worse(before, after), ledger.traces.values())


def _worse(before: Finding, after: Finding) -> Finding:
    """What was wrong at the beginning stays wrong, even if it has been mended meanwhile."""
    if before.verdict.kind is not VerdictKind.DIVERGED:
        return after
    first, last = before.verdict, after.verdict
    verdict = replace(
        last,
        kind=VerdictKind.DIVERGED,
        missing=tuple(dict.fromkeys(first.missing + last.missing)),
        stale=tuple(dict.fromkeys(first.stale + last.stale)),
        extra=tuple(dict.fromkeys(first.extra + last.extra)),
    )
    return Finding(verdict, after.lost)


def _counted(found: Finding, traces: Iterable[Trace]) -> Verdict:
    seen = [(trace.changes, trace.live) for trace in traces]
    arrived, live = sum(changes for changes, _ in seen), sum(live for _, live in seen)
    return replace(
        found.verdict, committed=arrived + found.lost, live=live, recovered=arrived - live, lost=found.lost
    )


@dataclass(frozen=True, slots=True)
class Finding:
    verdict: Verdict
    lost: int = 0
    """Changes that never arrived, by versions."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A row that differed from the truth when the truth was read."""

    ref: RowRef
    truth: SyncedRow | None


_State = tuple[str, str, int, int]
"""Table, key, version, changed_in."""
_AT_ONCE = 5000
"""Hashes computed without a pause: some 10 ms."""


def _states(replica: Replica) -> list[_State]:
    """What the copy is at this moment: between two changes of the stream."""
    held = ((ref, replica.held(ref)) for ref in replica)
    return [(ref.table, ref.key, *found.state) for ref, found in held if found is not None]


async def _salted(states: list[_State], salt: str) -> Digest:
    total = Digest()
    for start in range(0, len(states), _AT_ONCE):
        for state in states[start : start + _AT_ONCE]:
            total = total.plus(row_hash(*state, salt))
        await asyncio.sleep(0)  # stream and heartbeats come first
    return total


def _children(replica: Replica, prefixes: Iterable[str], salt: str) -> dict[str, Digest]:
    """As :meth:`Replica.children`, of salted hashes."""
    found: dict[str, Digest] = {}
    for prefix in prefixes:
        for ref in replica.under(prefix):
            held = replica.held(ref)
            assert held is not None
            child = key_hash(ref.table, ref.key)[: len(prefix) + 1]
            found[child] = found.get(child, Digest()).plus(row_hash(ref.table, ref.key, *held.state, salt))
    return found


def _total(buckets: Mapping[str, Digest]) -> Digest:
    count = sum(bucket.count for bucket in buckets.values())
    return Digest(count, sum(bucket.total for bucket in buckets.values()) % 2**64)


class Examination:
    """One listener against one source, for one or more verdicts."""

    def __init__(
        self, listener: Listener, source: Watermarks, timeout: float, user_id: str | None, lags: Lags
    ) -> None:
        self._listener, self._source, self._timeout, self._lags = listener, source, timeout, lags
        self._given_user = user_id
        self._salt = secrets.token_hex(16)
        self._clock = asyncio.get_running_loop().time

    async def run(self) -> Finding:
        try:
            return await self._run()
        finally:
            with contextlib.suppress(ToolkitError):
                await self._source.clear_watermarks(self._user(), _KEPT)

    async def _run(self) -> Finding:
        began = self._clock()
        try:
            async with Deadline(self._timeout):
                await self._listener.synced()
        except TimeoutError:
            return self._lagging(began)
        self._check_marks()
        theirs = _total(await self._source.digest(self._listener.scope, ("",), self._salt))
        began = self._clock()
        ours: list[list[_State]] = []
        lag = await self.pass_mark(lambda: ours.append(_states(self._listener.replica)))
        if lag is None:
            return self._lagging(began)
        if len(ours[0]) == theirs.count and await _salted(ours[0], self._salt) == theirs:
            return self._in_sync(lag)
        return await self._look_closer(lag)

    def _user(self) -> str:
        user = self._given_user or self._listener.user_id
        if user is None:
            raise InputError("whose watermarks? The token names no user, so user_id must be given")
        return user

    def _check_marks(self) -> None:
        """Nothing is proven without marks that come back."""
        self._user()
        if not self._listener.hears_watermarks and self._listener.state is State.SYNCED:
            raise InputError(
                "nothing can be proven here: Realtime does not let this user subscribe to realtime_watermarks "
                "(is the table published, and are the toolkit's migrations applied?)"
            )

    async def pass_mark(self, on_pass: Callable[[], None] = lambda: None) -> float | None:
        """Send a watermark round; the milliseconds it took, or ``None`` if it does not come.

        ``on_pass`` is called when it passes in the stream, between the changes around it.
        """
        began = self._clock()
        passed = asyncio.Event()
        marks: list[str] = []

        def when_passed() -> None:
            if not passed.is_set():
                self._lags.add((self._clock() - began) * 1000)
                passed.set()
                on_pass()

        try:
            while not passed.is_set() and (left := began + self._timeout - self._clock()) > 0:
                marks.append(str(uuid4()))
                self._listener.marks[marks[-1]] = when_passed
                await self._source.watermark(self._user(), marks[-1])
                await happens(passed, min(_AGAIN, left))
        finally:
            for mark in marks:
                self._listener.marks.pop(mark, None)
        return self._lags.seen[-1] if passed.is_set() else None

    async def _look_closer(self, lag: float) -> Finding:
        """The mark that has passed is the low one: read the rows of the parts that differ, and send the high one."""
        replica = self._listener.replica
        journal = replica.journal()
        try:
            suspects = await self._suspects()
            began = self._clock()
            if suspects and await self.pass_mark() is None:
                return self._lagging(began)
            guilty = [suspect for suspect in suspects if self._differs(suspect, journal)]
            while (
                any(suspect.ref in replica.doubts for suspect in guilty)
                and self._clock() < began + self._timeout
            ):
                await asyncio.sleep(0.02)  # being asked for
                guilty = [suspect for suspect in guilty if self._differs(suspect, journal)]
        finally:
            replica.close(journal)
        return self._diverged(guilty, lag) if guilty else self._in_sync(lag)

    async def _suspects(self) -> list[Suspect]:
        scope, replica = self._listener.scope, self._listener.replica
        questions, answer = (
            differing(replica, lambda prefixes: _children(replica, prefixes, self._salt)),
            None,
        )
        suspects: list[Suspect] = []
        try:
            while True:
                asked = questions.send(answer)
                assert isinstance(asked, AskDigest)
                answer = await self._source.digest(scope, asked.prefixes, self._salt)
        except StopIteration as end:
            batches: list[tuple[str, ...]] = end.value
        for prefixes in batches:
            _, rows = await self._source.rows(scope, prefixes, True)
            suspects += self._compare(prefixes, rows)
        return suspects

    def _compare(self, prefixes: tuple[str, ...], rows: Iterable[SyncedRow]) -> list[Suspect]:
        replica = self._listener.replica
        truth = {RowRef(row.table, row.key): row for row in rows}
        held = {ref for prefix in prefixes for ref in replica.under(prefix)}
        suspects = []
        for ref in truth.keys() | held:
            row, mine = truth.get(ref), replica.held(ref)
            if row is None or mine is None or mine.state != (row.version, row.changed_in):
                suspects.append(Suspect(ref, row))
        return suspects

    def _differs(self, suspect: Suspect, journal: Journal) -> bool:
        """Whether the stream, which has passed the moment of the truth, does not explain the difference."""
        held, truth = self._listener.replica.held(suspect.ref), suspect.truth
        trace = journal.traces.get(suspect.ref)
        if truth is None:
            return held is not None and trace is None
        if held is None:
            return trace is None or not trace.deleted
        state = truth.version, truth.changed_in
        if held.state == state:
            return False
        return trace is None or not (state in trace.states or trace.deleted or held.version > truth.version)

    # --- verdicts -------------------------------------------------------------------------------------

    def _verdict(self, kind: VerdictKind, lag: float) -> Verdict:
        return Verdict(kind, self._listener.scope, len(self._listener.replica), lag_ms=lag)

    def _in_sync(self, lag: float) -> Finding:
        return Finding(self._verdict(VerdictKind.IN_SYNC, lag))

    def _lagging(self, began: float) -> Finding:
        return Finding(self._verdict(VerdictKind.LAGGING, (self._clock() - began) * 1000))

    def _diverged(self, guilty: list[Suspect], lag: float) -> Finding:
        held = {suspect.ref: self._listener.replica.held(suspect.ref) for suspect in guilty}
        missing, stale, extra, lost = [], [], [], 0
        for suspect in sorted(guilty, key=lambda suspect: (suspect.ref.table, suspect.ref.key)):
            mine, truth = held[suspect.ref], suspect.truth
            if truth is None:
                extra.append(suspect.ref)
                lost += 1
            elif mine is None:
                missing.append(suspect.ref)
                lost += truth.version
            else:
                stale.append(suspect.ref)
                lost += max(truth.version - mine.version, 1)
        verdict = self._verdict(VerdictKind.DIVERGED, lag)
        reason = f"diverged: {len(guilty)} rows are not those of the database"
        self._listener.doubt(reason, [suspect.ref for suspect in guilty])
        return Finding(replace(verdict, missing=tuple(missing), stale=tuple(stale), extra=tuple(extra)), lost)

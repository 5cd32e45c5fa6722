"""What happened to each key of a replica while somebody was watching."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from realtime_toolkit.model import ChangeType
from realtime_toolkit.replica.held import steps

if TYPE_CHECKING:
    from realtime_toolkit.model import Change, RowRef
    from realtime_toolkit.replica.held import Held


@dataclass(slots=True)
class Trace:
    """What happened to one key while a journal was open."""

    before: Held | None
    states: set[tuple[int, int]] = field(default_factory=set)
    deleted: bool = False
    changes: int = 0
    """By dense versions: from version 3 to 7 are four; a removal is one more."""
    heard: set[tuple[int, int]] = field(default_factory=set)
    """(version, changed_in) of every event of the stream."""
    deletes_heard: int = 0

    @property
    def live(self) -> int:
        """How many of ``changes`` came as events of the stream."""
        first = self.before.version if self.before else 0
        anew = self.deleted or self.before is None
        news = sum(anew or version > first for version, _ in self.heard)
        return min(news + min(self.deletes_heard, int(self.deleted)), self.changes)


class Journal:
    """Records, per key, what changes in a replica from now on; see :meth:`Replica.journal`."""

    def __init__(self) -> None:
        self.traces: dict[RowRef, Trace] = {}

    def hear(self, ref: RowRef, change: Change, held: Held | None) -> None:
        trace = self._trace(ref, held)
        if change.type is ChangeType.DELETE:
            trace.deletes_heard += 1
        elif change.version is not None and change.changed_in is not None and not change.errors:
            trace.heard.add((change.version, change.changed_in))

    def note(self, ref: RowRef, before: Held | None, after: Held | None) -> None:
        trace = self._trace(ref, before)
        if after is None:
            trace.deleted = True
            trace.changes += before is not None
        else:
            trace.states.add(after.state)
            trace.changes += steps(before, after)

    def _trace(self, ref: RowRef, before: Held | None) -> Trace:
        if ref not in self.traces:
            self.traces[ref] = Trace(before, {before.state} if before else set())
        return self.traces[ref]


class Question:
    """What the stream has said of each key since a question was sent: only what its answer has to be held against.

    A first sync may run while as many rows stream in, so a key that is touched once costs one entry.
    """

    def __init__(self) -> None:
        self.before: dict[RowRef, Held | None] = {}
        """What was held of each key that the stream has touched, before it did."""
        self._between: dict[RowRef, set[tuple[int, int]]] = {}
        self.deleted: set[RowRef] = set()

    def hear(self, ref: RowRef, held: Held | None) -> None:
        self.before.setdefault(ref, held)

    def note(self, ref: RowRef, before: Held | None, after: Held | None) -> None:
        first = self.before.setdefault(ref, before)
        if before is not None and before is not first:
            self._between.setdefault(ref, set()).add(before.state)
        if after is None:
            self.deleted.add(ref)

    def states(self, ref: RowRef, held: Held | None) -> set[tuple[int, int]]:
        """Every state the key has had since, the first and the present one included."""
        ends = (self.before[ref], held)
        return self._between.get(ref, set()) | {each.state for each in ends if each is not None}

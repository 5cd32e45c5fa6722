"""How a replica catches up, as a list of questions: no I/O, so every interleaving can be tested.

A recovery is a generator. It yields a question (:class:`AskSync`, :class:`AskDigest`, :class:`AskRows`), to
be answered with ``send``, or a list of events for the handlers (answered with ``None``); the stream may
be applied to the replica between a question and its answer. It returns whether the replica ended up equal
to what the database shows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from realtime_toolkit.model import Digest, key_hash

if TYPE_CHECKING:
    from realtime_toolkit.events import Event
    from realtime_toolkit.model import SyncPage
    from realtime_toolkit.replica.replica import Replica


@dataclass(frozen=True, slots=True)
class AskSync:
    """Answer: a :class:`~realtime_toolkit.model.SyncPage`."""

    since: int | None
    epoch: str | None
    after: str | None = None
    """What the page before, if it was cut, said under this name."""


@dataclass(frozen=True, slots=True)
class AskDigest:
    """Answer: ``{prefix: Digest}`` with the non-empty children of each prefix."""

    prefixes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AskRows:
    """Answer: every visible :class:`~realtime_toolkit.model.SyncedRow` under the prefixes."""

    prefixes: tuple[str, ...]
    keys_only: bool = False


Ask = AskSync | AskDigest | AskRows
Recovery = Generator["Ask | list[Event]", Any, bool]

_ROUNDS = 4
_LEAF = 64
"""Rows under a prefix below which they are fetched rather than looked at more closely."""
_BATCH = 2000
"""Rows asked for at once."""
_PART = 500
"""Rows taken in without a pause: about 10 ms."""
_KEYS = 400
"""Single keys asked for at once."""


def recover(replica: Replica) -> Recovery:
    """Sync from the cursor, compare digests, and fetch what differs.

    Each part of the key space ends up as one snapshot showed it and the stream went on from there. A
    database that goes on deleting may give a different digest each time; after the last round, having
    mended something is taken for agreement. Differing digests without a differing row are not.
    """
    mended = False
    for _ in range(_ROUNDS):
        yield from _sync(replica)
        yield from resolve_doubts(replica)
        if replica.agrees:
            return True
        mended = yield from _mend(replica)
    return mended


def resolve_doubts(replica: Replica) -> Recovery:
    """Ask for every key in doubt; returns whether none is left."""
    for _ in range(_ROUNDS):
        asked = list(replica.doubts)
        if not asked:
            return True
        for batch in _batches(asked, _KEYS):
            prefixes = tuple(key_hash(ref.table, ref.key) for ref in batch)
            yield from _fetch(replica, prefixes)
    return not replica.doubts


def _sync(replica: Replica) -> Generator[Ask | list[Event], Any, None]:
    replica.begin_sync()
    more, after = True, None
    while more:
        page: SyncPage = yield AskSync(replica.cursor, replica.epoch, after)
        for part in _parts(page):
            yield replica.merge(part)
        more, after = page.more, page.after


def _parts(page: SyncPage) -> Iterator[SyncPage]:
    """The page in pieces, between which the stream may be applied and others may run."""
    rows = page.rows
    for start in range(0, max(len(rows), 1), _PART):
        is_last = start + _PART >= len(rows)
        yield replace(
            page,
            full=page.full and start == 0,
            more=page.more or not is_last,
            rows=rows[start : start + _PART],
        )


def _mend(replica: Replica) -> Recovery:
    """Find the parts that differ and put them right; returns whether any row did differ."""
    changed = False
    for prefixes in (yield from differing(replica)):
        events = yield from _fetch(replica, prefixes)
        changed = changed or bool(events)
    return changed


def _fetch(replica: Replica, prefixes: tuple[str, ...]) -> Generator[Ask | list[Event], Any, list[Event]]:
    replica.begin()
    rows = yield AskRows(prefixes)
    events = replica.settle(prefixes, rows)
    yield events
    return events


def differing(
    replica: Replica, children: Callable[[Sequence[str]], Mapping[str, Digest]] | None = None
) -> Generator[Ask | list[Event], Any, list[tuple[str, ...]]]:
    """Bisect (16-way): the prefixes under which replica and database differ, in batches to be fetched.

    ``children`` answers for the replica where not its own digests count, but salted ones.
    """
    ours = children or replica.children
    found: list[tuple[str, int]] = []
    frontier: tuple[str, ...] = ("",)
    while frontier:
        theirs: Mapping[str, Digest] = yield AskDigest(frontier)
        leaves, frontier = _look_closer(ours(frontier), theirs)
        found += leaves
    return list(_by_size(found))


def _look_closer(
    ours: Mapping[str, Digest], theirs: Mapping[str, Digest]
) -> tuple[list[tuple[str, int]], tuple[str, ...]]:
    leaves, deeper = [], []
    for prefix in sorted(ours.keys() | theirs.keys()):
        mine, other = ours.get(prefix, Digest()), theirs.get(prefix, Digest())
        if mine == other:
            continue
        # Where one side has nothing there is nothing to narrow down.
        whole = not (mine.count and other.count) and other.count <= _BATCH
        if whole or max(mine.count, other.count) <= _LEAF or len(prefix) == 32:
            leaves.append((prefix, other.count))
        else:
            deeper.append(prefix)
    return leaves, tuple(deeper)


def _by_size(leaves: Sequence[tuple[str, int]]) -> Iterator[tuple[str, ...]]:
    batch: list[str] = []
    rows = 0
    for prefix, count in leaves:
        if batch and (rows + count > _BATCH or len(batch) == _KEYS):
            yield tuple(batch)
            batch, rows = [], 0
        batch.append(prefix)
        rows += count
    if batch:
        yield tuple(batch)


def _batches(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch

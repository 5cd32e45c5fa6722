"""The digest of a set of rows for every prefix of their ``key_hash``, kept up to date row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_toolkit.model import Digest, key_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from realtime_toolkit.model import RowRef
    from realtime_toolkit.replica.held import Held

_DEPTH = 3
_DIGITS = "0123456789abcdef"


class _Bucket:
    """The rows whose ``key_hash`` begins with the same three digits: one in 4096."""

    __slots__ = ("refs", "total")

    def __init__(self) -> None:
        self.refs: list[RowRef] = []
        self.total = 0


class DigestTree:
    """Mirrors ``digest_scope``: a tree of 16-way hash prefixes over (table, key).

    A row's share is its :func:`~realtime_toolkit.model.row_hash`. Only sums of buckets are kept: the 4096 of them are
    quickly added up, and so are the rows of one. ``rows`` is whose digest this is.
    """

    def __init__(self, rows: Mapping[RowRef, Held]) -> None:
        self._rows = rows
        self._buckets: list[_Bucket | None] = [None] * 16**_DEPTH
        self._total = 0

    @property
    def total(self) -> Digest:
        return Digest(len(self._rows), self._total % 2**64)

    def put(self, ref: RowRef, place: bytes, share: int, before: int | None) -> None:
        """Add a row at the place of its key's hash, or (where ``before`` is given) change its share."""
        if share == before:
            return
        number = place[0] << 4 | place[1] >> 4
        bucket = self._buckets[number]
        if bucket is None:
            bucket = self._buckets[number] = _Bucket()
        if before is None:
            bucket.refs.append(ref)
        change = share - (before or 0)
        bucket.total += change
        self._total += change

    def remove(self, ref: RowRef, share: int) -> None:
        """Raises :class:`ValueError` if it is not there."""
        bucket = self._bucket(key_hash(ref.table, ref.key))
        if bucket is None:
            raise ValueError(f"not in the digest: {ref}")
        bucket.refs.remove(ref)
        bucket.total -= share
        self._total -= share

    def under(self, prefix: str) -> Iterator[RowRef]:
        """Every row whose ``key_hash`` begins with ``prefix``."""
        if len(prefix) <= _DEPTH:
            return (ref for bucket in self._below(prefix) for ref in bucket.refs)
        return (ref for ref, place in self._places(prefix) if place.startswith(prefix))

    def _places(self, prefix: str) -> Iterator[tuple[RowRef, str]]:
        """The rows of the bucket in which a long prefix lies, with their hashes, which are not kept."""
        bucket = self._bucket(prefix)
        return ((ref, key_hash(ref.table, ref.key)) for ref in (bucket.refs if bucket else ()))

    def _bucket(self, place: str) -> _Bucket | None:
        return self._buckets[int(place[:_DEPTH], 16)]

    def children(self, prefixes: Sequence[str]) -> dict[str, Digest]:
        """For each prefix, the digests of its children (one hex digit longer) that have rows."""
        found: dict[str, Digest] = {}
        for prefix in prefixes:
            found |= self._kept(prefix) if len(prefix) < _DEPTH else self._added_up(prefix)
        return found

    def _below(self, prefix: str) -> Iterator[_Bucket]:
        width = 16 ** (_DEPTH - len(prefix))
        first = int(prefix or "0", 16) * width
        return (bucket for bucket in self._buckets[first : first + width] if bucket is not None)

    def _kept(self, prefix: str) -> dict[str, Digest]:
        found = {}
        for digit in _DIGITS:
            buckets = list(self._below(prefix + digit))
            if count := sum(len(bucket.refs) for bucket in buckets):
                found[prefix + digit] = Digest(count, sum(bucket.total for bucket in buckets) % 2**64)
        return found

    def _added_up(self, prefix: str) -> dict[str, Digest]:
        found: dict[str, Digest] = {}
        for ref, place in self._places(prefix):
            if place.startswith(prefix):
                child = place[: len(prefix) + 1]
                found[child] = found.get(child, Digest()).plus(self._rows[ref].share)
        return found


class Paging:
    """A sync in progress: the digest the copy would have, had the stream stood still since it began."""

    def __init__(self, digest: Digest) -> None:
        self._count, self._total = digest.count, digest.total
        self.full = False
        self.strangers = False
        """The rows held are of another cluster: equal versions mean nothing."""
        self.seen: dict[RowRef, int] = {}
        """The share of each row that a page brought."""

    @property
    def digest(self) -> Digest:
        return Digest(self._count, self._total % 2**64)

    def restart(self, *, strangers: bool) -> None:
        self._count = self._total = 0
        self.full, self.strangers = True, strangers
        self.seen.clear()

    def count(self, ref: RowRef, made: Held, before: Held | None) -> None:
        known = self.seen.get(ref)
        if known is None and before is not None and not self.full:
            known = before.share
        self._count += known is None
        self._total += made.share - (known or 0)
        self.seen[ref] = made.share

"""The digest of a set of rows for every prefix of their ``key_hash``, kept up to date row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.model import Digest, key_hash, row_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from toolkit.model import RowRef

_DEPTH = 3
"""Prefixes up to this length have their sums kept; below, a bucket (1/4096 of the rows) is added up."""


class DigestTree:
    """Mirrors ``digest_scope``: a tree of 16-way hash prefixes over (table, key)."""

    def __init__(self) -> None:
        self._rows: dict[RowRef, tuple[str, int]] = {}
        self._buckets: dict[str, dict[RowRef, None]] = {}
        self._sums: dict[str, Digest] = {}

    @property
    def total(self) -> Digest:
        return self._sums.get("", Digest())

    def add(self, ref: RowRef, version: int, changed_in: int) -> None:
        place = key_hash(ref.table, ref.key)
        share = row_hash(ref.table, ref.key, version, changed_in)
        self._rows[ref] = place, share
        self._buckets.setdefault(place[:_DEPTH], {})[ref] = None
        for depth in range(_DEPTH + 1):
            self._sums[place[:depth]] = self._sums.get(place[:depth], Digest()).plus(share)

    def remove(self, ref: RowRef) -> None:
        """Raises :class:`KeyError` if it is not there."""
        place, share = self._rows.pop(ref)
        del self._buckets[place[:_DEPTH]][ref]
        for depth in range(_DEPTH + 1):
            self._sums[place[:depth]] = self._sums[place[:depth]].minus(share)

    def under(self, prefix: str) -> Iterator[RowRef]:
        """Every row whose ``key_hash`` begins with ``prefix``."""
        if len(prefix) >= _DEPTH:
            bucket = self._buckets.get(prefix[:_DEPTH], {})
            return (ref for ref in bucket if self._rows[ref][0].startswith(prefix))
        return (ref for place, bucket in self._buckets.items() if place.startswith(prefix) for ref in bucket)

    def children(self, prefixes: Sequence[str]) -> dict[str, Digest]:
        """For each prefix, the digests of its children (one hex digit longer) that have rows."""
        found: dict[str, Digest] = {}
        for prefix in prefixes:
            found |= self._kept(prefix) if len(prefix) < _DEPTH else self._added_up(prefix)
        return found

    def _kept(self, prefix: str) -> dict[str, Digest]:
        children = {prefix + digit: self._sums.get(prefix + digit) for digit in "0123456789abcdef"}
        return {child: digest for child, digest in children.items() if digest is not None and digest.count}

    def _added_up(self, prefix: str) -> dict[str, Digest]:
        found: dict[str, Digest] = {}
        for ref in self.under(prefix):
            place, share = self._rows[ref]
            child = place[: len(prefix) + 1]
            found[child] = found.get(child, Digest()).plus(share)
        return found

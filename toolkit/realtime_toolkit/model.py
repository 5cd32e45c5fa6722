"""The words everything else speaks: scopes, changes, statuses, verdicts. No I/O, no clock."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec import Struct

from realtime_toolkit.errors import InputError
from realtime_toolkit.exact import read_row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Row = dict[str, Any]
"""A row as JSON shows it: column → value, numbers with a fraction as ``Decimal``."""

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_KIND = re.compile(r"[a-z][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True)
class Scope:
    """What a subscriber follows: ``conversation:<uuid>``, ``tenant:42``. Also names its private topic.

    ``value`` keeps its spelling: Postgres decides what it is equal to. A number or a UUID is written out; raises
    :class:`InputError` for anything else that is no text.
    """

    kind: str
    value: str

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or not _KIND.fullmatch(self.kind):
            raise InputError(
                f"not a kind of scope: {self.kind!r} (a lower-case letter, then letters, digits or _)"
            )
        if isinstance(self.value, int | UUID) and not isinstance(self.value, bool):
            object.__setattr__(self, "value", str(self.value))
        if not isinstance(self.value, str) or not self.value:
            raise InputError(f"not a value of a scope: {self.value!r}")

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Read ``kind:value``; a bare UUID means ``conversation:<uuid>``. Raises :class:`InputError`."""
        if _UUID.fullmatch(text):
            return cls("conversation", text.lower())  # of a uuid column
        kind, colon, value = text.partition(":")
        if not colon or not value or not _KIND.fullmatch(kind):
            raise InputError(f"not a scope: {text!r} (write kind:value, or a conversation's UUID)")
        return cls(kind, value)

    @classmethod
    def of(cls, given: Scope | str) -> Scope:
        """A scope, or its text. Raises :class:`InputError`."""
        if isinstance(given, cls):
            return given
        if not isinstance(given, str):
            raise InputError(f"not a scope: {given!r} (write kind:value, or Scope(kind, value))")
        return cls.parse(given)


class Status(StrEnum):
    """Life of a task (``pending → running → …``) and of a message (``pending → streaming → …``)."""

    PENDING = "pending"
    RUNNING = "running"
    STREAMING = "streaming"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in FINAL


FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
TASK_TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELLED}),
    Status.RUNNING: FINAL | {Status.PENDING},  # back to pending: the lease expired and the reaper took it
}
MESSAGE_TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.STREAMING}) | FINAL,
    Status.STREAMING: FINAL | {Status.PENDING},  # back to pending: a new attempt begins
}


class ChangeType(StrEnum):
    INSERT = "INSERT"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


@dataclass(frozen=True, slots=True)
class TrackedTable:
    """A table that ``track_table`` put under a kind, as ``tracked_tables(kind)`` lists it."""

    schema: str
    table: str
    scope_column: str
    key_columns: tuple[str, ...]
    """In primary-key order."""
    columns: tuple[str, ...] = ()
    """The columns this user may select; ``()`` when not known."""
    altered: frozenset[str] = frozenset()
    """Columns whose values Realtime alters on the way: ``char(n)``, ``bit(n)``, …; null alone is sure."""
    nulled: frozenset[str] = frozenset()
    """Columns of which it sends some values as null: NaN and ±Infinity of numbers, also in arrays."""

    @property
    def name(self) -> str:
        return sys.intern(f"{self.schema}.{self.table}")  # every row that is held has it

    def key_of(self, row: Mapping[str, Any]) -> str:
        """Canonical key of a row; raises :class:`KeyError` where a key column is missing."""
        return canonical_key([row[column] for column in self.key_columns])


class Change(Struct, frozen=True, gc=False):
    """One row change as a subscriber received it over Realtime.

    ``version`` and ``changed_in`` are ``None`` where the event does not carry them: a DELETE (only the
    key columns arrive), and an event whose ``errors`` say that values were withheld.
    ``missing`` names columns the event should have carried and did not (an unchanged TOASTed value),
    ``altered`` those whose value may not be the database's (:attr:`TrackedTable.altered`, ``nulled``).
    """

    table: str
    """``schema.table``"""
    type: ChangeType
    key: str
    version: int | None = None
    changed_in: int | None = None
    row: Row | None = None
    committed_at: str | None = None
    missing: frozenset[str] = frozenset()
    errors: tuple[str, ...] = ()
    altered: frozenset[str] = frozenset()
    new_shape: bool = False
    """The event has columns that the table had not when it was learnt."""


class SyncedRow(Struct, frozen=True, gc=False):
    """One row as ``sync_scope`` or ``rows_scope`` returned it."""

    table: str
    key: str
    version: int
    changed_in: int
    body: Row | bytes | None
    """The row, or its JSON; ``None`` if keys only, or with an ``error``."""
    error: str | None = None
    """Why the database cannot show this row as JSON."""

    @property
    def row(self) -> Row | None:
        """Raises :class:`~realtime_toolkit.exact.Unreadable`."""
        return read_row(self.body) if isinstance(self.body, bytes) else self.body


@dataclass(frozen=True, slots=True)
class Digest:
    """Order-free fingerprint of a set of rows: how many, and the sum of their hashes modulo 2⁶⁴."""

    count: int = 0
    total: int = 0

    def plus(self, row_hash: int) -> Digest:
        return Digest(self.count + 1, (self.total + row_hash) % 2**64)

    def minus(self, row_hash: int) -> Digest:
        return Digest(self.count - 1, (self.total - row_hash) % 2**64)


@dataclass(frozen=True, slots=True)
class SyncPage:
    """What one ``sync_scope`` call saw, in one snapshot.

    ``cursor`` is the transaction horizon to pass as the next ``since``; every transaction older than it
    had ended when the snapshot was taken. ``more`` says that the page was cut and another call is
    needed; ``digest`` (of *all* that is visible) is there only when it was not.
    ``full`` says that ``since`` could not be honoured and the page starts from nothing.
    """

    epoch: str
    cursor: int
    full: bool
    more: bool
    digest: Digest | None
    rows: tuple[SyncedRow, ...]
    after: str | None = None
    """Where a cut page ended: to be passed to the next call, with the same ``since`` and ``epoch``."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What ``glance_scope`` saw, in one snapshot, for next to nothing."""

    epoch: str
    """Of the history and of the tables' shape: another one calls for a full sync."""
    pulse: str
    """Changes when the database was started anew, or a replication slot was lost."""
    cursor: int
    """The snapshot's horizon, as :attr:`SyncPage.cursor`."""
    digest: Digest | None
    """Of all that is visible, if it was asked for."""
    seconds: float
    """What it took of the database."""


class VerdictKind(StrEnum):
    IN_SYNC = "in_sync"
    LAGGING = "lagging"
    DIVERGED = "diverged"


class RowRef(Struct, frozen=True, gc=False):
    table: str
    key: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What reconciliation found for one subscriber of one scope.

    Counts are of row changes between the two watermarks of a watch: ``committed`` by the versions in
    the database, ``live`` of them delivered as events, ``recovered`` only by a sync, ``lost`` never.
    """

    kind: VerdictKind
    scope: Scope
    rows: int
    missing: tuple[RowRef, ...] = ()
    stale: tuple[RowRef, ...] = ()
    extra: tuple[RowRef, ...] = ()
    committed: int = 0
    live: int = 0
    recovered: int = 0
    lost: int = 0
    lag_ms: float | None = None
    """Commit of the high watermark to its receipt; the age so far if it was not seen."""

    @property
    def ok(self) -> bool:
        return self.kind is VerdictKind.IN_SYNC and self.lost == 0


def canonical_key(values: Sequence[Any]) -> str:
    """The text of a primary key, equal on both sides: that of ``jsonb_build_array(…)::text`` in Postgres.

    ``values`` are JSON values in primary-key order, fractions as :class:`~decimal.Decimal`.

    >>> canonical_key([7, "a"])
    '[7, "a"]'
    """
    if len(values) == 1:
        return f"[{_canonical(values[0])}]"
    return "[" + ", ".join(map(_canonical, values)) + "]"


def _canonical(value: Any) -> str:
    if type(value) is str:
        return encode_basestring(value)
    if type(value) is int and value.bit_length() < 64:
        return str(value)
    if isinstance(value, Decimal) or type(value) is int:
        return format(Decimal(value), "f")  # jsonb never writes an exponent; str(int) ends at 4,300 digits
    return json.dumps(value, ensure_ascii=False)


def key_hash(table: str, key: str) -> str:
    """32 hex digits of MD5 over ``schema.table`` U+001F ``key``: where a row stands in ``digest_scope``'s tree."""
    return hashlib.md5(f"{table}\x1f{key}".encode(), usedforsecurity=False).hexdigest()


def hashes(table: str, key: str, version: int, changed_in: int) -> tuple[bytes, int]:
    """The 16 bytes of :func:`key_hash` and the :func:`row_hash`, at the price of one."""
    md5 = hashlib.md5(f"{table}\x1f{key}".encode(), usedforsecurity=False)
    place = md5.digest()
    md5.update(f"\x1f{version}\x1f{changed_in}".encode())
    return place, int.from_bytes(md5.digest()[:8])


def row_hash(table: str, key: str, version: int, changed_in: int, salt: str = "") -> int:
    """The row's 64-bit share of a :class:`Digest`: the first 8 bytes of MD5, big endian, unsigned.

    ``changed_in`` is in it so that a row deleted and made again under the same key and version differs. A ``salt`` that
    is chosen anew for each proof keeps whoever writes rows from choosing some whose hashes add up to those of others.
    """
    text = f"{table}\x1f{key}\x1f{version}\x1f{changed_in}"
    if salt:
        text = f"{salt}\x1f{text}"
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[:8])

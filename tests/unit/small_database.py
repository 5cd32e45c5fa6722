"""A model of a database as its subscriber sees it: transactions, snapshots, horizon, and the stream of commits."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from realtime_toolkit.exact import DEPTH, dumps
from realtime_toolkit.model import (
    Change,
    ChangeType,
    Digest,
    Row,
    Scope,
    SyncedRow,
    SyncPage,
    TrackedTable,
    canonical_key,
    key_hash,
    row_hash,
)
from realtime_toolkit.replica.recovery import AskDigest, AskRows, AskSync

ITEMS = TrackedTable(
    "public", "items", "scope", ("id",), ("id", "scope", "created_at", "version", "changed_in")
)
SCOPE = Scope("box", "1")
NAME = ITEMS.name


def shown(row: Row) -> Row | bytes:
    """A row as a query answers it: half of them as text, which must make no difference."""
    if row["unreadable"]:
        return dumps(row)[:-1] + b',"deep":' + b"[" * DEPTH + b"]" * DEPTH + b"}"
    return dumps(row) if row["value"] % 2 else row


@dataclass
class Transaction:
    xid: int
    writes: list[tuple[ChangeType, int, Row | None]] = field(default_factory=list)


class Database:
    """Committed rows, open transactions, and the stream of what was committed."""

    def __init__(self, *, with_birth: bool = True) -> None:
        self.rows: dict[int, Row] = {}
        self.open: list[Transaction] = []
        self.stream: deque[Change] = deque()
        self.member = True
        self.epoch = "one"
        self.commits = 0
        self.committed: dict[int, int] = {}
        """xid → how many commits there had been with it: what a snapshot has seen."""
        self._with_birth = with_birth
        self._xid = 100
        self._clock = 0

    # writing

    def begin(self) -> Transaction:
        self._xid += 1
        self.open.append(Transaction(self._xid))
        return self.open[-1]

    def now(self, tx: Transaction, key: int) -> Row | None:
        for _, other, row in reversed(tx.writes):
            if other == key:
                return row
        return self.rows.get(key)

    def locked(self, tx: Transaction, key: int) -> bool:
        return any(other is not tx and any(k == key for _, k, _ in other.writes) for other in self.open)

    def write(
        self,
        tx: Transaction,
        key: int,
        *,
        hidden: bool = False,
        altered: bool = False,
        unreadable: bool = False,
    ) -> None:
        """``altered``: the stream shows another value; ``unreadable``: nobody can read what it or a query shows."""
        before = self.now(tx, key)
        if before is None and any(other == key and row for _, other, row in tx.writes):
            return  # made twice in one transaction: the same version of the same transaction, twice
        self._clock += 1
        row = {
            "id": key,
            "scope": 1,
            "value": self._clock,
            "hidden": hidden,
            "altered": altered,
            "unreadable": unreadable,
            "version": before["version"] + 1 if before else 1,
            "changed_in": str(tx.xid),
        }
        if self._with_birth:
            row["created_at"] = before["created_at"] if before else f"{self._clock:09}"
        tx.writes.append((ChangeType.UPDATE if before else ChangeType.INSERT, key, row))

    def delete(self, tx: Transaction, key: int) -> None:
        if self.now(tx, key) is not None:
            tx.writes.append((ChangeType.DELETE, key, None))

    def commit(self, tx: Transaction) -> None:
        self.open.remove(tx)
        self._clock += 1
        self.commits += 1
        self.committed[tx.xid] = self.commits
        for type_, key, row in tx.writes:
            self.stream.append(self._change(type_, key, row))
            if row is None:
                del self.rows[key]
            else:
                self.rows[key] = row

    def _change(self, type_: ChangeType, key: int, row: Row | None) -> Change:
        version, changed_in = (row["version"], int(row["changed_in"])) if row else (None, None)
        at = f"{self._clock // 3:09}"  # coarse, as milliseconds are
        change = Change(NAME, type_, canonical_key([key]), version, changed_in, row, at)
        if row and row["unreadable"]:
            return replace(change, errors=("the record cannot be read",))
        if row and row["altered"]:
            return replace(change, row={**row, "value": None}, altered=frozenset({"value"}))
        return change

    # reading, as the subscriber

    def visible(self) -> list[SyncedRow]:
        rows = [row for row in self.rows.values() if self.member and not row["hidden"]]
        return [
            SyncedRow(NAME, canonical_key([row["id"]]), row["version"], int(row["changed_in"]), shown(row))
            for row in rows
        ]

    @property
    def horizon(self) -> int:
        return min((tx.xid for tx in self.open), default=self._xid + 1)

    def answer(self, ask: AskSync | AskDigest | AskRows, page_size: int) -> Any:
        match ask:
            case AskSync(since, epoch, after):
                return self.sync(since, epoch, page_size, after)
            case AskDigest(prefixes):
                return self.buckets(prefixes)
            case AskRows(prefixes):
                return tuple(
                    row for row in self.visible() if key_hash(row.table, row.key).startswith(prefixes)
                )

    def sync(self, since: int | None, epoch: str | None, page_size: int, after: str | None) -> SyncPage:
        """Pages are cut by key; what is committed meanwhile makes another, shorter walk over the keys."""
        place = json.loads(after) if after else None
        if place and place["epoch"] != self.epoch:
            place, since = None, None
        full = place is None and (since is None or epoch != self.epoch or since > self.horizon)
        since = place["since"] if place else None if full else since
        seen, started, last = (
            (place["seen"], place["started"], place["last"]) if place else (None, self.commits, "")
        )
        rows: list[SyncedRow] = []
        while True:
            for row in sorted(self.visible(), key=lambda row: row.key):
                if row.key <= last or not self._in_series(row, since, seen):
                    continue
                if len(rows) == page_size:
                    place = {
                        "epoch": self.epoch,
                        "since": since,
                        "seen": seen,
                        "started": started,
                        "last": last,
                    }
                    page = tuple(sorted(rows, key=lambda row: row.changed_in))
                    return SyncPage(self.epoch, since or 0, full, True, None, page, json.dumps(place))
                rows.append(row)
                last = row.key
            if started == self.commits:
                break
            seen, started, last = started, self.commits, ""
        page = tuple(sorted(rows, key=lambda row: row.changed_in))
        return SyncPage(self.epoch, self.horizon, full, False, digest_of(self.visible()), page)

    def _in_series(self, row: SyncedRow, since: int | None, seen: int | None) -> bool:
        if seen is not None:
            return self.committed[row.changed_in] > seen
        return since is None or row.changed_in >= since

    def buckets(self, prefixes: tuple[str, ...]) -> dict[str, Digest]:
        found: dict[str, Digest] = {}
        for row in self.visible():
            place = key_hash(row.table, row.key)
            for prefix in prefixes:
                if place.startswith(prefix):
                    child = place[: len(prefix) + 1]
                    share = row_hash(row.table, row.key, row.version, row.changed_in)
                    found[child] = found.get(child, Digest()).plus(share)
        return found


def digest_of(rows: list[SyncedRow]) -> Digest:
    digest = Digest()
    for row in rows:
        digest = digest.plus(row_hash(row.table, row.key, row.version, row.changed_in))
    return digest

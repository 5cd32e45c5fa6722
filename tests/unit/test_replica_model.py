"""The replica against a model of a database: any history, any interleaving, any loss; one truth in the end.

The model has transactions that are open for a while (so the horizon lags), rows deleted and made again
under the same key, rows and whole scopes that vanish from sight, a stream that lags behind the commits
and drops, repeats or delays events, and questions whose answers are snapshots of some moment between
asking and answering.
"""

from __future__ import annotations

import json
import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.events import Event, RowChanged
from toolkit.model import (
    Change,
    ChangeType,
    Digest,
    Row,
    RowRef,
    Scope,
    SyncedRow,
    SyncPage,
    TrackedTable,
    canonical_key,
    key_hash,
    row_hash,
)
from toolkit.recovery import AskDigest, AskRows, AskSync, recover, resolve_doubts
from toolkit.replica import Replica

if TYPE_CHECKING:
    from collections.abc import Callable

ITEMS = TrackedTable(
    "public", "items", "scope", ("id",), ("id", "scope", "created_at", "version", "changed_in")
)
SCOPE = Scope("box", "1")
NAME = ITEMS.name


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

    def write(self, tx: Transaction, key: int, *, hidden: bool = False) -> None:
        before = self.now(tx, key)
        if before is None and any(other == key and row for _, other, row in tx.writes):
            return  # made twice in one transaction: the same version of the same transaction, twice
        self._clock += 1
        row = {
            "id": key,
            "scope": 1,
            "value": self._clock,
            "hidden": hidden,
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
        return Change(NAME, type_, canonical_key([key]), version, changed_in, row, at)

    # reading, as the subscriber

    def visible(self) -> list[SyncedRow]:
        rows = [row for row in self.rows.values() if self.member and not row["hidden"]]
        return [
            SyncedRow(NAME, canonical_key([row["id"]]), row["version"], int(row["changed_in"]), row)
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


class Handler:
    """What a user's code knows: it is told of changes and nothing else."""

    def __init__(self) -> None:
        self.each_once = True
        self.rows: dict[RowRef, Row] = {}
        self.told: set[tuple[Any, ...]] = set()

    def __call__(self, event: Event) -> None:
        if not isinstance(event, RowChanged):
            return
        change = event.change
        ref = RowRef(change.table, change.key)
        if change.type is ChangeType.DELETE:
            assert ref in self.rows, "told of the end of a row it never had"
            del self.rows[ref]
            return
        assert change.row is not None
        told = (ref, change.row.get("created_at"), change.version, change.row["value"])
        assert told not in self.told or not self.each_once, "told twice"
        self.told.add(told)
        self.rows[ref] = change.row


class Subscriber:
    """A replica, its handler, and the question it is waiting on."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.replica = Replica(SCOPE, [ITEMS])
        self.handler = Handler()
        self.recovery: Any = None
        self.asked: Any = None
        self.answer: Any = None
        self.clean = False
        """The last recovery succeeded, and nothing was lost or hidden since it began."""
        self._undisturbed = False

    def tell(self, events: list[Event]) -> None:
        for event in events:
            self.handler(event)

    def receive(self) -> None:
        """The oldest event of the stream; what the subscriber may see is decided now, as Realtime does."""
        change = self.db.stream.popleft()
        if change.row is None or (self.db.member and not change.row["hidden"]):
            self.tell(self.replica.apply(change))
        else:
            self.disturb()  # an update that moves a row out of sight sends nothing

    def disturb(self) -> None:
        self.clean = self._undisturbed = False

    def step(self, page_size: int) -> None:
        """Ask, have the answer made, or receive it: whichever is next."""
        if self.recovery is None:
            self._undisturbed = True
            self.recovery = recover(self.replica)
            self._go_on(None)
        elif self.answer is None:
            self.answer = (self.db.answer(self.asked, page_size),)
        else:
            (answer,), self.answer = self.answer, None
            self._go_on(answer)

    def _go_on(self, answer: Any) -> None:
        try:
            asked = self.recovery.send(answer)
            while isinstance(asked, list):
                self.tell(asked)
                asked = self.recovery.send(None)
            self.asked = asked
        except StopIteration as end:
            self.recovery = self.asked = None
            self.clean = self._undisturbed and end.value

    def abandon(self) -> None:
        self.recovery = self.asked = self.answer = None
        self.disturb()

    def come_back(self, *, values: bool) -> None:
        """The client is closed and opened again with its stored cursor; what was under way is gone."""
        self.abandon()
        self.db.stream.clear()
        self.replica = Replica.load(json.loads(json.dumps(self.replica.dump(values=values))))
        if not values and self.replica.epoch != self.db.epoch:
            self.handler.told.clear()  # nothing is left to compare a row of another cluster with

    def finish(self, questions: Any) -> bool:
        """Ask and answer without anything in between."""
        try:
            asked = questions.send(None)
            while True:
                if isinstance(asked, list):
                    self.tell(asked)
                    asked = questions.send(None)
                else:
                    asked = questions.send(self.db.answer(asked, 100))
        except StopIteration as end:
            return bool(end.value)

    def check(self) -> None:
        """What must hold at any time."""
        assert set(self.replica) == self.handler.rows.keys()
        held = {ref: self.replica.held(ref) for ref in self.replica}
        rows = [SyncedRow(r.table, r.key, h.version, h.changed_in, None) for r, h in held.items() if h]
        assert self.replica.digest == digest_of(rows)

    def check_equal(self) -> None:
        truth = {RowRef(row.table, row.key): row.row for row in self.db.visible()}
        assert self.handler.rows == truth
        assert self.replica.digest == digest_of(self.db.visible())

    def settle_down(self) -> None:
        """Nothing was lost since the last recovery, so without another one the copy must be whole."""
        while self.db.stream:
            self.receive()
        assert self.finish(resolve_doubts(self.replica))
        self.check_equal()


class History:
    """A random history: ``rng`` decides what happens next."""

    def __init__(self, rng: random.Random, *, lossy: bool, faulty: bool, with_birth: bool = True) -> None:
        self.rng = rng
        self.lossy = lossy
        self.db = Database(with_birth=with_birth)
        self.client = Subscriber(self.db)
        # Without created_at, a row made again while its past is still on the way may be told of twice.
        self.client.handler.each_once = with_birth
        self.actions: dict[Callable[[], None], float] = {
            self.write: 14,
            self.delete: 5,
            self.make_again: 5,
            self.begin: 4,
            self.write_in_an_open_transaction: 8,
            self.end_a_transaction: 7,
            self.receive: 22,
            self.step: 26,
            self.settle_down: 2,
        }
        if lossy:
            self.actions |= {
                self.drop: 3,
                self.lose_or_gain_membership: 1,
                self.another_cluster: 0.3,
                self.abandon: 0.7,
                self.come_back: 0.7,
            }
        if faulty:
            self.actions[self.repeat_or_delay] = 5

    def run(self, steps: int) -> None:
        for action in self.rng.choices(list(self.actions), list(self.actions.values()), k=steps):
            action()
            self.client.check()
        for tx in list(self.db.open):
            self.db.commit(tx)
        while self.db.stream:
            self.client.receive()
        self.client.abandon()
        assert self.client.finish(recover(self.client.replica))
        self.client.check_equal()
        assert self.client.replica.agrees
        assert not self.client.replica.doubts

    def key(self) -> int:
        return self.rng.randrange(4)

    def write(self) -> None:
        tx, key = self.db.begin(), self.key()
        if not self.db.locked(tx, key):
            self.db.write(tx, key, hidden=self.lossy and self.rng.random() < 0.1)
        self.db.commit(tx)

    def delete(self) -> None:
        tx, key = self.db.begin(), self.key()
        if not self.db.locked(tx, key):
            self.db.delete(tx, key)
        self.db.commit(tx)

    def make_again(self) -> None:
        tx, key = self.db.begin(), self.key()
        if not self.db.locked(tx, key):
            self.db.delete(tx, key)
            for _ in range(self.rng.randint(1, 3)):
                self.db.write(tx, key)
        self.db.commit(tx)

    def begin(self) -> None:
        if len(self.db.open) < 3:
            self.db.begin()

    def write_in_an_open_transaction(self) -> None:
        if self.db.open:
            tx, key = self.rng.choice(self.db.open), self.key()
            if not self.db.locked(tx, key):
                self.rng.choice([self.db.write, self.db.write, self.db.delete])(tx, key)

    def end_a_transaction(self) -> None:
        if self.db.open:
            tx = self.rng.choice(self.db.open)
            if self.rng.random() < 0.8:
                self.db.commit(tx)
            else:
                self.db.open.remove(tx)

    def receive(self) -> None:
        for _ in range(min(self.rng.randint(1, 4), len(self.db.stream))):
            self.client.receive()

    def step(self) -> None:
        self.client.step(self.rng.randint(1, 6))

    def settle_down(self) -> None:
        unseen = any(change.row and change.row["hidden"] for change in self.db.stream)
        if self.client.clean and self.client.recovery is None and not unseen:
            self.client.settle_down()

    def drop(self) -> None:
        if self.db.stream:
            self.db.stream.popleft()
            self.client.disturb()

    def lose_or_gain_membership(self) -> None:
        self.db.member = not self.db.member
        self.client.disturb()
        self.client.handler.told.clear()  # a row that comes back into sight is told of again

    def another_cluster(self) -> None:
        self.db.epoch += "x"
        self.client.disturb()
        self.client.handler.told.clear()  # its versions are others, even where they look the same

    def abandon(self) -> None:
        self.client.abandon()

    def come_back(self) -> None:
        self.client.come_back(values=self.rng.random() < 0.5)

    def repeat_or_delay(self) -> None:
        if self.db.stream:
            change = self.db.stream[0]
            if self.rng.random() < 0.5:
                self.db.stream.popleft()
            self.db.stream.insert(self.rng.randint(1, 6), change)
            self.client.disturb()


SEEDS = st.integers(0, 2**32)


@settings(max_examples=400, deadline=None)
@given(SEEDS)
def test_the_stream_in_order_and_a_sync_make_the_whole(seed: int) -> None:
    History(random.Random(seed), lossy=False, faulty=False).run(120)


@settings(max_examples=400, deadline=None)
@given(SEEDS)
def test_losses_of_every_kind_are_mended_by_the_next_sync(seed: int) -> None:
    History(random.Random(seed), lossy=True, faulty=False).run(120)


@settings(max_examples=400, deadline=None)
@given(SEEDS)
def test_events_that_come_twice_or_late_do_no_harm(seed: int) -> None:
    History(random.Random(seed), lossy=True, faulty=True).run(120)


@settings(max_examples=400, deadline=None)
@given(SEEDS)
def test_a_user_who_may_not_read_created_at_gets_the_whole_too(seed: int) -> None:
    History(random.Random(seed), lossy=True, faulty=False, with_birth=False).run(120)

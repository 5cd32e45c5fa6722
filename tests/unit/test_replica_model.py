"""The replica against a model of a database: any history, any interleaving, any loss; one truth in the end.

The model has transactions that are open for a while (so the horizon lags), rows deleted and made again
under the same key, rows and whole scopes that vanish from sight, a stream that lags behind the commits
and drops, repeats or delays events, and questions whose answers are snapshots of some moment between
asking and answering.
"""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_toolkit.events import Event, Lost, RowChanged
from realtime_toolkit.exact import Unreadable
from realtime_toolkit.model import (
    ChangeType,
    Row,
    RowRef,
    SyncedRow,
)
from realtime_toolkit.replica.recovery import recover, resolve_doubts
from realtime_toolkit.replica.replica import Replica
from tests.unit.small_database import ITEMS, SCOPE, Database, digest_of

if TYPE_CHECKING:
    from collections.abc import Callable


UNREADABLE: Row = {"unreadable": True}


def readable(row: SyncedRow) -> Row:
    try:
        assert row.row is not None
        return row.row
    except Unreadable:
        return UNREADABLE


class Handler:
    """What a user's code knows: it is told of changes and nothing else."""

    def __init__(self) -> None:
        self.each_once = True
        self.rows: dict[RowRef, Row] = {}
        self.told: set[tuple[Any, ...]] = set()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Lost):
            self.rows |= dict.fromkeys(event.rows, UNREADABLE)
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
        truth = {RowRef(row.table, row.key): readable(row) for row in self.db.visible()}
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
            hidden, altered, unreadable = (self.rng.random() < 0.1 for _ in range(3))
            self.db.write(tx, key, hidden=self.lossy and hidden, altered=altered, unreadable=unreadable)
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

"""Each rule of the replica by itself; the histories are in test_replica_model.py."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal
from typing import Any

import pytest
from msgspec.structs import replace

from realtime_toolkit.errors import InputError
from realtime_toolkit.events import Lost, RowChanged
from realtime_toolkit.model import (
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
from realtime_toolkit.replica.recovery import AskRows, resolve_doubts
from realtime_toolkit.replica.replica import Replica

COLUMNS = ("id", "body", "created_at", "version", "changed_in")
ITEMS = TrackedTable("public", "items", "scope", ("id",), COLUMNS)
NAME = ITEMS.name
SCOPE = Scope("box", "1")


def values(key: int, version: int, xid: int, *, born: str | None = "a", **more: Any) -> Row:
    row = {"id": key, "version": version, "changed_in": str(xid), "body": f"{key}.{version}", **more}
    return row if born is None else {**row, "created_at": born}


def put(key: int, version: int, xid: int, *, at: str = "1", born: str | None = "a", **more: Any) -> Change:
    kind = ChangeType.INSERT if version == 1 else ChangeType.UPDATE
    row = values(key, version, xid, born=born, **more)
    return Change(NAME, kind, canonical_key([key]), version, xid, row, at)


def delete(key: int, *, at: str | None = "2") -> Change:
    return Change(NAME, ChangeType.DELETE, canonical_key([key]), committed_at=at)


def synced(key: int, version: int, xid: int, *, born: str | None = "a", **more: Any) -> SyncedRow:
    return SyncedRow(NAME, canonical_key([key]), version, xid, values(key, version, xid, born=born, **more))


def ref(key: int) -> RowRef:
    return RowRef(NAME, canonical_key([key]))


def digest(*rows: SyncedRow) -> Digest:
    found = Digest()
    for row in rows:
        found = found.plus(row_hash(row.table, row.key, row.version, row.changed_in))
    return found


def page(
    *rows: SyncedRow, cursor: int = 50, full: bool = False, all: tuple[SyncedRow, ...] | None = None
) -> SyncPage:
    return SyncPage("e", cursor, full, False, digest(*(rows if all is None else all)), rows)


def with_synced(*rows: SyncedRow, cursor: int = 50) -> Replica:
    made = Replica(SCOPE, [ITEMS])
    made.begin_sync()
    made.merge(page(*rows, cursor=cursor, full=True))
    assert made.agrees
    return made


def told(events: list[Any]) -> list[tuple[str, str, int | None, str]]:
    """(type, key, version, via) of the row changes."""
    return [
        (str(event.change.type), event.change.key, event.change.version, event.via)
        for event in events
        if isinstance(event, RowChanged)
    ]


def settle(replica: Replica, *rows: SyncedRow) -> list[Any]:
    """Resolve the doubts with this as the whole truth."""
    events: list[Any] = []
    questions = resolve_doubts(replica)
    answer: Any = None
    while True:
        try:
            item = questions.send(answer)
        except StopIteration:
            return events
        answer = None
        if isinstance(item, AskRows):
            answer = [row for row in rows if key_hash(row.table, row.key).startswith(item.prefixes)]
        elif isinstance(item, list):
            events += item


# --- the stream ---


def test_a_newer_version_is_taken_and_told_once() -> None:
    replica = Replica(SCOPE, [ITEMS])
    assert told(replica.apply(put(1, 1, 10))) == [("INSERT", "[1]", 1, "live")]
    assert told(replica.apply(put(1, 3, 12))) == [("UPDATE", "[1]", 3, "live")]
    assert told(replica.apply(put(1, 3, 12))) == []
    assert told(replica.apply(put(1, 2, 11))) == []
    assert replica.row(NAME, "[1]") == values(1, 3, 12)


def test_tables_that_are_not_followed_are_ignored() -> None:
    replica = Replica(SCOPE, [ITEMS])
    assert replica.apply(replace(put(1, 1, 10), table="public.others")) == []
    assert len(replica) == 0


def test_what_lies_below_the_horizon_is_in_the_last_sync_already() -> None:
    replica = with_synced(cursor=50)  # item 1 was made and deleted before
    assert told(replica.apply(put(1, 7, 49, born=None))) == []
    assert told(replica.apply(put(1, 1, 50, born=None))) == [("INSERT", "[1]", 1, "live")]


def test_a_row_made_again_under_its_key_is_another_row() -> None:
    replica = Replica(SCOPE, [ITEMS])
    replica.apply(put(1, 5, 10, born="a"))
    assert told(replica.apply(put(1, 1, 11, born="b"))) == [("INSERT", "[1]", 1, "live")]
    assert told(replica.apply(put(1, 6, 12, born="a"))) == [], "a late event of the row before"


def test_after_a_delete_late_events_of_the_row_do_not_bring_it_back() -> None:
    replica = Replica(SCOPE, [ITEMS])
    replica.apply(put(1, 1, 10, at="1"))
    assert told(replica.apply(delete(1, at="3"))) == [("DELETE", "[1]", None, "live")]
    assert told(replica.apply(put(1, 2, 11, at="2"))) == []
    assert told(replica.apply(put(1, 1, 12, at="4", born="b"))) == [("INSERT", "[1]", 1, "live")]


def test_a_delete_that_was_committed_before_what_is_held_is_late() -> None:
    replica = Replica(SCOPE, [ITEMS])
    replica.apply(put(1, 1, 10, at="5"))
    assert told(replica.apply(delete(1, at="4"))) == []
    assert ref(1) in replica


# --- doubts ---


def test_a_delete_of_a_row_that_a_sync_brought_is_asked_for() -> None:
    """It carries no version: it may be of a row that had the key before the sync."""
    replica = with_synced(synced(1, 1, 10))
    assert replica.apply(delete(1)) == []
    assert replica.doubts.keys() == {ref(1)}
    assert told(settle(replica, synced(1, 1, 10))) == [], "it was late: the row is there"
    replica.apply(delete(1))
    assert told(settle(replica)) == [("DELETE", "[1]", None, "live")]


def test_a_delete_is_certain_once_the_stream_is_past_the_sync() -> None:
    replica = with_synced(synced(1, 1, 10), synced(2, 1, 10))
    replica.apply(put(2, 2, 60, at="5"))
    assert told(replica.apply(delete(1, at="6"))) == [("DELETE", "[1]", None, "live")]


def test_what_comes_for_a_key_in_doubt_waits_for_the_answer() -> None:
    replica = with_synced(synced(1, 1, 10))
    replica.apply(delete(1, at="5"))
    replica.begin()
    assert replica.apply(put(1, 1, 60, at="6", born="b")) == [], (
        "after the question: the answer may not know it"
    )
    events = replica.settle([key_hash(NAME, "[1]")], [])
    assert told(events) == [("DELETE", "[1]", None, "live"), ("INSERT", "[1]", 1, "live")]


def test_a_doubt_younger_than_the_question_is_not_resolved_by_its_answer() -> None:
    replica = with_synced(synced(1, 1, 10))
    replica.begin()
    replica.apply(delete(1))
    assert replica.settle([key_hash(NAME, "[1]")], [synced(1, 1, 10)]) == []
    assert ref(1) in replica.doubts


def test_a_row_deleted_and_made_again_while_it_was_asked_for_is_asked_for_again() -> None:
    """Without created_at the last change alone would look like an old one."""
    replica = with_synced(synced(1, 4, 10, born=None))
    replica.apply(delete(1, at="5"))
    replica.begin()
    replica.apply(delete(1, at="6"))
    replica.apply(put(1, 1, 61, at="7", born=None))
    replica.settle([key_hash(NAME, "[1]")], [synced(1, 5, 60, born=None)])
    assert ref(1) in replica.doubts
    assert told(settle(replica, synced(1, 1, 61, born=None))) == [("UPDATE", "[1]", 1, "sync")]


def test_what_came_before_the_question_is_in_its_answer() -> None:
    replica = with_synced(synced(1, 1, 10))
    replica.apply(delete(1, at="5"))
    replica.begin()
    replica.apply(delete(1, at="6"))
    replica.begin()  # the first was never answered
    replica.settle([key_hash(NAME, "[1]")], [synced(1, 1, 60, born="b")])
    assert not replica.doubts


def test_of_a_key_in_doubt_little_is_kept_however_much_comes() -> None:
    replica = with_synced(synced(1, 1, 10))
    journal = replica.journal()
    replica.apply(delete(1, at="5"))
    for asked in (False, True):
        if asked:
            replica.begin()
        for n in range(50):
            replica.apply(put(1, n + 1, 60 + n, at="6", born="b"))
            replica.apply(delete(1, at="6"))
    assert len(replica.doubts[ref(1)].changes) <= 2
    events = replica.settle([key_hash(NAME, "[1]")], [])
    assert told(events) == [("DELETE", "[1]", None, "live")]
    trace = journal.traces[ref(1)]
    assert (trace.deletes_heard, len(trace.heard)) == (101, 50)


def test_of_an_updated_key_in_doubt_the_last_change_counts() -> None:
    replica = with_synced(synced(1, 1, 10))
    replica.apply(delete(1, at="1"))
    replica.begin()
    for version in range(2, 7):
        replica.apply(put(1, version, 60 + version, at="6"))
    events = replica.settle([key_hash(NAME, "[1]")], [synced(1, 3, 63)])
    assert told(events) == [("UPDATE", "[1]", 3, "sync"), ("UPDATE", "[1]", 6, "live")]
    assert not replica.doubts


def test_between_questions_nothing_is_kept_of_the_stream() -> None:
    replica = with_synced(synced(1, 1, 10))
    assert replica._question is None
    replica.begin()
    replica.settle([], [])
    assert replica._question is None


def test_an_answer_older_than_a_young_doubt_does_not_turn_back_time() -> None:
    replica = with_synced(synced(1, 1, 10))
    replica.begin()
    replica.apply(put(1, 2, 60, at="5"))
    replica.apply(delete(1, at="5"))  # in the same millisecond: who knows
    assert told(replica.settle([key_hash(NAME, "[1]")], [synced(1, 1, 10)])) == []
    held = replica.held(ref(1))
    assert held is not None
    assert held.version == 2


def test_a_delete_from_before_the_sync_is_in_doubt_even_when_the_stream_is_past_it() -> None:
    replica = with_synced(synced(1, 1, 10), synced(2, 1, 10))
    replica.apply(put(2, 2, 60, at="5"))
    assert told(replica.apply(delete(1, at="4"))) == []
    assert ref(1) in replica.doubts


def test_a_late_insert_of_an_earlier_row_does_not_revive_the_key() -> None:
    replica = Replica(SCOPE, [ITEMS])
    replica.apply(put(1, 1, 20, at="3", born="b"))
    replica.apply(delete(1, at="4"))
    assert told(replica.apply(put(1, 1, 10, at="5", born="a"))) == []
    assert ref(1) not in replica


@pytest.mark.parametrize("errors", [("Error 413: Payload Too Large",)])
def test_a_record_with_values_withheld_is_fetched(errors: tuple[str, ...]) -> None:
    replica = with_synced(synced(1, 1, 10))
    cut = put(1, 2, 60)
    assert cut.row is not None
    del cut.row["body"]
    assert told(replica.apply(replace(cut, errors=errors))) == []
    assert told(settle(replica, synced(1, 2, 60))) == [("UPDATE", "[1]", 2, "sync")]
    assert replica.row(NAME, "[1]") == values(1, 2, 60)


def without_body(change: Change) -> Change:
    assert change.row is not None
    row = {name: value for name, value in change.row.items() if name != "body"}
    return replace(change, row=row, missing=frozenset({"body"}))


def test_an_unchanged_toasted_value_is_that_of_the_version_before() -> None:
    replica = with_synced(synced(1, 1, 10))
    events = replica.apply(without_body(put(1, 2, 60)))
    assert told(events) == [("UPDATE", "[1]", 2, "live")]
    assert replica.row(NAME, "[1]") == {**values(1, 2, 60), "body": "1.1"}


@pytest.mark.parametrize(
    "change",
    [put(1, 3, 60), put(2, 2, 60), put(1, 2, 60, born="b")],
    ids=["a version was skipped", "the row is not held", "it is another row"],
)
def test_an_unchanged_toasted_value_that_is_not_known_is_fetched(change: Change) -> None:
    replica = with_synced(synced(1, 1, 10))
    assert replica.apply(without_body(change)) == []
    assert replica.doubts


def test_a_toasted_value_is_not_known_to_a_cursor_without_values() -> None:
    replica = Replica.load(with_synced(synced(1, 1, 10)).dump(values=False))
    assert replica.apply(without_body(put(1, 2, 60))) == []
    assert ref(1) in replica.doubts


# --- syncs ---


def test_the_digest_tells_whether_something_has_vanished() -> None:
    replica = with_synced(synced(1, 1, 10), synced(2, 1, 11))
    replica.begin_sync()
    replica.merge(page(all=(synced(2, 1, 11),)))
    assert not replica.agrees
    replica.begin_sync()
    replica.merge(page(all=(synced(1, 1, 10), synced(2, 1, 11))))
    assert replica.agrees


def test_changes_of_the_stream_while_a_sync_runs_do_not_blur_the_comparison() -> None:
    replica = with_synced(synced(1, 1, 10), synced(2, 1, 11))
    replica.begin_sync()
    replica.apply(put(1, 2, 60, at="5"))  # committed after the snapshot
    replica.apply(put(3, 1, 61, at="5"))  # before it
    replica.merge(page(synced(3, 1, 61), all=(synced(1, 1, 10), synced(2, 1, 11), synced(3, 1, 61))))
    assert replica.agrees


def test_a_row_in_two_pages_counts_once() -> None:
    replica = Replica(SCOPE, [ITEMS])
    replica.begin_sync()
    first = SyncPage("e", 0, True, True, None, (synced(1, 1, 10),), after="x")
    replica.merge(first)
    replica.merge(page(synced(1, 2, 12), synced(2, 1, 11)))
    assert replica.agrees
    assert replica.row(NAME, "[1]") == values(1, 2, 12)


def test_the_cursor_moves_only_when_the_series_of_pages_is_complete() -> None:
    replica = with_synced(synced(1, 1, 10), cursor=50)
    replica.begin_sync()
    replica.merge(SyncPage("f", 0, True, True, None, (synced(1, 1, 10),), after="x"))
    assert (replica.epoch, replica.cursor) == ("e", 50)
    replica.merge(SyncPage("f", 70, False, False, digest(synced(1, 1, 10)), ()))
    assert (replica.epoch, replica.cursor) == ("f", 70)


def test_a_full_sync_drops_what_it_did_not_bring() -> None:
    replica = with_synced(synced(1, 1, 10), synced(2, 1, 11))
    replica.begin_sync()
    events = replica.merge(page(synced(2, 1, 11), full=True))
    assert told(events) == [("DELETE", "[1]", None, "sync")]


def test_a_row_of_another_cluster_is_compared_by_value() -> None:
    replica = with_synced(synced(1, 1, 10), synced(2, 1, 11))
    replica.begin_sync()
    rows = synced(1, 1, 10), synced(2, 1, 11, body="restored from elsewhere")
    events = replica.merge(dataclasses.replace(page(*rows, full=True), epoch="another"))
    assert told(events) == [("UPDATE", "[2]", 1, "sync")]


def test_a_page_needs_a_beginning() -> None:
    with pytest.raises(RuntimeError):
        Replica(SCOPE, [ITEMS]).merge(page())


def test_an_answer_does_not_undo_what_the_stream_said_since_the_question() -> None:
    replica = with_synced(synced(1, 1, 10), synced(2, 1, 10))
    replica.begin()
    replica.apply(put(1, 2, 60))
    replica.apply(put(3, 1, 61))
    prefixes = [key_hash(NAME, f"[{key}]") for key in (1, 2, 3)]
    assert told(replica.settle(prefixes, [synced(1, 1, 10)])) == [("DELETE", "[2]", None, "sync")]
    assert set(replica) == {ref(1), ref(3)}


def test_a_snapshot_of_a_row_that_the_stream_has_deleted_since_is_asked_for_again() -> None:
    replica = with_synced(synced(1, 1, 10))
    replica.begin()
    replica.apply(put(1, 2, 60, at="5"))
    replica.apply(delete(1, at="6"))
    replica.settle([key_hash(NAME, "[1]")], [synced(1, 3, 61)])  # an update that was lost, or another row
    assert ref(1) not in replica
    assert ref(1) in replica.doubts


def test_a_snapshot_that_the_stream_has_passed_through_leaves_no_doubt() -> None:
    replica = with_synced(synced(1, 1, 10, born=None))
    replica.begin()
    replica.apply(put(1, 2, 60, born=None))
    replica.apply(delete(1, at="3"))
    replica.apply(put(1, 1, 61, at="4", born=None))
    assert replica.settle([key_hash(NAME, "[1]")], [synced(1, 2, 60, born=None)]) == []
    assert not replica.doubts


def test_a_snapshot_of_a_row_that_was_made_again_since_is_asked_for_again() -> None:
    """Its version is higher, but of which of the two rows?"""
    replica = with_synced(synced(1, 1, 10, born=None))
    replica.begin()
    replica.apply(put(1, 2, 60, at="5", born=None))
    replica.apply(delete(1, at="6"))
    replica.apply(put(1, 1, 61, at="7", born=None))
    replica.settle([key_hash(NAME, "[1]")], [synced(1, 3, 62, born=None)])
    assert ref(1) in replica.doubts


def test_a_row_out_of_sight_that_comes_back_is_told_of_again() -> None:
    replica = with_synced(synced(1, 1, 10))
    replica.begin()
    assert told(replica.settle([key_hash(NAME, "[1]")], [])) == [("DELETE", "[1]", None, "sync")]
    assert told(replica.apply(put(1, 1, 60))) == [], "late"
    replica.apply(put(1, 2, 61))
    assert ref(1) in replica.doubts, "late, or back in sight: to be asked"
    assert told(settle(replica, synced(1, 2, 61))) == [("INSERT", "[1]", 2, "sync")]


# --- values ---


def test_a_value_that_may_have_been_altered_on_the_way_is_asked_for() -> None:
    replica = with_synced(synced(1, 1, 10))
    change = replace(put(1, 2, 60, body="x"), altered=frozenset({"body"}))
    assert replica.apply(change) == []
    assert told(settle(replica, synced(1, 2, 60, body="xyz"))) == [("UPDATE", "[1]", 2, "sync")]
    assert replica.row(NAME, "[1]") == values(1, 2, 60, body="xyz")


DEEP = b'{"id": 1, "created_at": "a", "body": ' + b"[" * 5000 + b"]" * 5000 + b"}"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (SyncedRow(NAME, "[1]", 2, 60, DEEP), "nested deeper"),
        (SyncedRow(NAME, "[1]", 2, 60, b"[]"), "no object"),
        (SyncedRow(NAME, "[1]", 2, 60, b'"x"'), "no object"),
        (SyncedRow(NAME, "[1]", 2, 60, None, "out of range"), "out of range"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_and_counts(row: SyncedRow, reason: str) -> None:
    replica = with_synced(row, synced(2, 1, 10))
    assert replica.row(NAME, "[1]") is None
    assert replica.rows(NAME) == {"[2]": values(2, 1, 10)}
    assert set(replica) == {ref(1), ref(2)}
    replica = with_synced(synced(1, 1, 10))
    replica.begin_sync()
    (event,) = replica.merge(page(row, cursor=61))
    assert isinstance(event, Lost)
    assert (event.rows, reason in event.reason) == ((ref(1),), True)
    assert replica.agrees
    replica.begin_sync()
    assert replica.merge(page(row, cursor=61)) == [], "named once"
    loaded = Replica.load(json.loads(json.dumps(replica.dump())))
    assert loaded.digest == replica.digest
    assert told(replica.apply(put(1, 3, 70))) == [("UPDATE", "[1]", 3, "live")]


def test_values_are_kept_with_every_digit_and_escape() -> None:
    odd = {
        "decimal": Decimal("1.5000"),
        "long": Decimal("9" * 5000),
        "integer": 2**200,
        "user": {"$decimal": "1.5", "x": [{"$decimal": None}]},
        "texts": ["a\u0000b", "\ud800", "é😀"],
        "nothing": [None, True, {}, []],
    }
    replica = Replica(SCOPE, [ITEMS])
    replica.apply(put(1, 1, 10, body=odd))
    for copy in (replica, Replica.load(json.loads(json.dumps(replica.dump())))):
        row = copy.row(NAME, "[1]")
        assert row == values(1, 1, 10, body=odd)
        assert str(row["body"]["decimal"]) == "1.5000"


def test_a_row_given_out_is_nobodys_but_the_takers() -> None:
    replica = Replica(SCOPE, [ITEMS])
    event: Any = replica.apply(put(1, 1, 10))[0]
    event.change.row["body"] = "scribbled"
    replica.rows(NAME)["[1]"]["body"] = "scribbled"
    assert replica.row(NAME, "[1]") == values(1, 1, 10)


def test_a_cursor_of_another_format_is_refused() -> None:
    with pytest.raises(InputError, match="format 1"):
        Replica.load({**with_synced().dump(), "format": 1})


# --- digests ---


def test_the_digests_of_prefixes_are_those_of_the_rows_under_them() -> None:
    rows = [synced(key, 1, 10 + key) for key in range(300)]
    replica = with_synced(*rows)
    for depth in range(6):
        for place in {key_hash(row.table, row.key)[:depth] for row in rows}:
            found = replica.children([place])
            for child, sum_ in found.items():
                assert child[:-1] == place
                under = [row for row in rows if key_hash(row.table, row.key).startswith(child)]
                assert sum_ == digest(*under)
                assert set(replica.under(child)) == {RowRef(row.table, row.key) for row in under}
            assert sum(sum_.count for sum_ in found.values()) == len(list(replica.under(place)))


# --- journals ---


def test_a_journal_counts_changes_and_how_they_came() -> None:
    replica = with_synced(synced(1, 3, 10))
    journal = replica.journal()
    replica.apply(put(1, 5, 61))  # 4 was lost
    replica.begin_sync()
    replica.merge(page(synced(1, 7, 63), cursor=64))
    replica.apply(put(1, 6, 62))  # late: the sync was there before
    trace = journal.traces[ref(1)]
    assert (trace.changes, trace.live) == (4, 2)
    replica.close(journal)
    replica.apply(put(1, 8, 70))
    assert trace.changes == 4


def test_a_journal_counts_a_deleted_row() -> None:
    replica = Replica(SCOPE, [ITEMS])
    journal = replica.journal()
    replica.apply(put(1, 1, 10, at="1"))
    replica.apply(put(1, 2, 11, at="2"))
    replica.apply(delete(1, at="3"))
    trace = journal.traces[ref(1)]
    assert (trace.changes, trace.live) == (3, 3)


# --- stored cursors ---


def test_a_stored_cursor_is_json_and_brings_everything_back() -> None:
    odd = synced(1, 1, 10, price=Decimal("12345678901234567890.10"), tags=[Decimal("1.5"), {"n": None}])
    replica = with_synced(odd, synced(2, 1, 11))
    back = Replica.load(json.loads(json.dumps(replica.dump())))
    assert (back.scope, back.tables, back.cursor, back.epoch) == (SCOPE, replica.tables, 50, "e")
    assert back.rows(NAME) == replica.rows(NAME)
    assert back.digest == replica.digest
    assert told(back.apply(put(2, 1, 60))) == []


def test_a_cursor_without_values_gets_them_with_the_rows() -> None:
    back = Replica.load(with_synced(synced(1, 1, 10)).dump(values=False))
    assert back.row(NAME, "[1]") is None
    assert back.digest == digest(synced(1, 1, 10))
    back.begin()
    assert back.settle([""], [synced(1, 1, 10)]) == []
    assert back.row(NAME, "[1]") == values(1, 1, 10)


@pytest.mark.parametrize("stored", [{}, {"format": 99}, {"format": 1, "scope": 3}, [], "x", {"format": 1}])
def test_what_is_no_stored_cursor_is_refused(stored: Any) -> None:
    with pytest.raises(InputError, match="stored cursor"):
        Replica.load(stored)

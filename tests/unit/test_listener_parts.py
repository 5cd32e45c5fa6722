"""The parts of the listener that decide without waiting, and its queue."""

from __future__ import annotations

import asyncio
from collections import deque
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_toolkit.errors import (
    ConfigError,
    GaveUp,
    InputError,
    NotFound,
    ProtocolError,
    StoreUnavailable,
    Unauthorized,
    Unreachable,
)
from realtime_toolkit.events import Recovered, State
from realtime_toolkit.exact import dumps
from realtime_toolkit.follow.inbox import Inbox
from realtime_toolkit.follow.keeper import Sightings, interval
from realtime_toolkit.follow.listener import Facts, is_final, state_of
from realtime_toolkit.follow.session import socket_address
from realtime_toolkit.follow.subscription import Mark, Withheld, quoted, read_change, read_system
from realtime_toolkit.model import Change, ChangeType, Digest, TrackedTable
from realtime_toolkit.phoenix import Vsn

# --- state ---


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        (Facts(), State.DISCONNECTED),
        (Facts(running=True), State.DISCONNECTED),
        (Facts(running=True, dialing=True), State.CONNECTING),
        (Facts(running=True, dialing=True, whole=True), State.CONNECTING),
        (Facts(running=True, dialing=True, subscribed=True), State.SYNCING),
        (Facts(running=True, dialing=True, subscribed=True, whole=True), State.SYNCED),
        (Facts(running=True, failure=Unreachable("x")), State.DISCONNECTED),
        (Facts(running=True, subscribed=True, failure=StoreUnavailable("x")), State.SYNCING),
        (Facts(running=True, subscribed=True, failure=Unauthorized("x")), State.ERROR),
        (Facts(failure=GaveUp("x")), State.ERROR),
    ],
)
def test_the_state_follows_from_the_facts(facts: Facts, state: State) -> None:
    assert state_of(facts) is state


@given(st.booleans(), st.booleans(), st.booleans())
def test_only_a_whole_copy_on_a_live_subscription_is_synced(
    running: bool, subscribed: bool, whole: bool
) -> None:
    synced = state_of(Facts(running=running, subscribed=subscribed, whole=whole)) is State.SYNCED
    assert synced == (running and subscribed and whole)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (Unreachable("x"), True),
        (StoreUnavailable("x"), True),
        (Unauthorized("x"), True),
        (KeyError("a bug"), True),
        (ConfigError("x"), False),
        (InputError("x"), False),
        (NotFound("x"), False),
    ],
)
def test_the_retry_decision(error: Exception, again: bool) -> None:
    assert is_final(error, synced_before=False, token_is_over=False) is not again
    assert not is_final(error, synced_before=True, token_is_over=False)


def test_a_token_that_is_over_and_cannot_be_renewed_ends_it() -> None:
    assert is_final(Unauthorized("x"), synced_before=True, token_is_over=True)
    assert not is_final(Unreachable("x"), synced_before=True, token_is_over=True)


@pytest.mark.parametrize(
    ("costs", "seconds"), [([], 2), ([0.003], 2), ([0.1], 10), ([0.1, 5.0, 0.2], 10), ([3.0], 60)]
)
def test_comparisons_keep_to_their_budget(costs: list[float], seconds: float) -> None:
    assert interval(deque(costs), None) == seconds
    assert interval(deque(costs), 0.5) == 0.5


def digest(n: int) -> Digest:
    return Digest(n, n)


def test_what_the_copy_had_while_the_question_was_out_counts_as_had() -> None:
    seen = Sightings(digest(1))
    for n in (2, 3):
        seen.saw(digest(n))
    seen.want(digest(2))
    assert seen.found.is_set()


def test_what_the_copy_comes_to_have_counts_as_had() -> None:
    seen = Sightings(digest(1))
    seen.want(digest(3))
    assert not seen.found.is_set()
    seen.saw(digest(2))
    assert not seen.found.is_set()
    seen.saw(digest(3))
    seen.saw(digest(4))
    assert seen.found.is_set()


# --- addresses ---


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://x.supabase.co", "wss://x.supabase.co/realtime/v1/websocket?apikey=a%2Bb&vsn=2.0.0"),
        ("http://127.0.0.1:1/", "ws://127.0.0.1:1/realtime/v1/websocket?apikey=a%2Bb&vsn=2.0.0"),
        ("https://x/base", "wss://x/base/realtime/v1/websocket?apikey=a%2Bb&vsn=2.0.0"),
        ("ws://x:4000/socket/websocket", "ws://x:4000/socket/websocket?apikey=a%2Bb&vsn=2.0.0"),
        ("wss://x/s?log_level=info", "wss://x/s?log_level=info&apikey=a%2Bb&vsn=2.0.0"),
    ],
)
def test_the_socket_of_a_project(url: str, address: str) -> None:
    assert socket_address(url, "a+b", Vsn.V2) == address


# --- frames; as recorded from the genuine server v2.129.8 but for names and stamps ---

NOTES = TrackedTable("public", "notes", "scope", ("id",), ("id", "scope", "title", "version", "changed_in"))
LINES = TrackedTable("shop", "lines", "tenant", ("order_id", "line"), ("order_id", "line", "tenant", "price"))
TABLES = {NOTES.name: NOTES, LINES.name: LINES}
TYPES = [{"name": name, "type": "text"} for name in NOTES.columns]


def payload(**data: Any) -> bytes:
    whole = {
        "table": "notes",
        "schema": "public",
        "commit_timestamp": "2026-11-21T09:01:19.026Z",
        "columns": TYPES,
        "errors": None,
        **data,
    }
    return dumps({"data": whole, "ids": [101147312]})


RECORD = {"id": 1, "scope": "s", "title": "t", "version": 2, "changed_in": "7337"}


def test_an_update_is_read_with_version_and_transaction() -> None:
    change = read_change(payload(type="UPDATE", record=RECORD, old_record={"id": 1}), TABLES)
    assert change == Change(
        "public.notes", ChangeType.UPDATE, "[1]", 2, 7337, RECORD, "2026-11-21T09:01:19.026Z"
    )


def test_a_delete_has_its_key_and_nothing_else() -> None:
    change = read_change(payload(type="DELETE", old_record={"id": 1, "scope": "s"}), TABLES)
    assert change == Change("public.notes", ChangeType.DELETE, "[1]", committed_at="2026-11-21T09:01:19.026Z")


def test_an_unchanged_toasted_column_is_missing() -> None:
    record = {name: value for name, value in RECORD.items() if name != "title"}
    change = read_change(payload(type="UPDATE", record=record, old_record={"id": 1}), TABLES)
    assert isinstance(change, Change)
    assert change.missing == {"title"}


def test_a_record_that_was_too_large_says_so_rather_than_what_is_missing() -> None:
    small = {"id": 1, "version": 2, "changed_in": "7337"}
    change = read_change(
        payload(type="INSERT", record=small, errors=["Error 413: Payload Too Large"]), TABLES
    )
    assert isinstance(change, Change)
    assert (change.errors, change.missing) == (("Error 413: Payload Too Large",), frozenset())


@pytest.mark.parametrize(
    "data",
    [
        {
            "type": "INSERT",
            "record": {},
            "columns": [],
            "errors": ["Error 401: Unauthorized"],
            "commit_timestamp": None,
        },
        {"type": "UPDATE", "record": {}, "columns": [], "errors": ["Error 400: Bad Request, no primary key"]},
        {"type": "DELETE", "old_record": {}, "commit_timestamp": None},
    ],
)
def test_a_change_without_its_key_is_withheld(data: dict[str, Any]) -> None:
    assert isinstance(read_change(payload(**data), TABLES), Withheld)


def test_keys_are_canonical() -> None:
    data = {"schema": "shop", "table": "lines", "type": "INSERT", "columns": None}
    record = {"line": 2, "order_id": 9007199254740993, "tenant": 1}
    change = read_change(payload(**data, record=record), TABLES)
    assert isinstance(change, Change)
    assert change.key == "[9007199254740993, 2]"
    assert change.missing == {"price"}


ODD = TrackedTable(
    *(
        "public",
        "odd",
        "scope",
        ("id",),
        ("id", "code", "rate", "rates", "blob", "blobs", "version", "changed_in"),
    ),
    altered=frozenset({"code"}),
    nulled=frozenset({"rate", "rates"}),
)
ODD_TYPES = [{"name": name, "type": "text"} for name in ODD.columns if "blob" not in name]
ODD_TYPES += [{"name": "blob", "type": "bytea"}, {"name": "blobs", "type": "_bytea"}]
ODD_ROW = {
    "id": 1,
    "code": None,
    "rate": 1.5,
    "rates": [1],
    "blob": None,
    "blobs": None,
    "version": 1,
    "changed_in": "7",
}


def odd(*, columns: Any = ODD_TYPES, **values: Any) -> Change:
    row = {**ODD_ROW, **values}
    change = read_change(payload(table="odd", type="INSERT", record=row, columns=columns), {ODD.name: ODD})
    assert isinstance(change, Change)
    return change


@pytest.mark.parametrize(
    ("values", "altered"),
    [
        ({}, set()),
        ({"code": "E"}, {"code"}),
        ({"rate": None}, {"rate"}),
        ({"rates": None}, {"rates"}),
        ({"rates": []}, set()),
        ({"rates": [[1], [None]]}, {"rates"}),
        ({"code": "", "rate": None}, {"code", "rate"}),
    ],
)
def test_values_that_realtime_may_have_altered_are_named(values: dict[str, Any], altered: set[str]) -> None:
    assert odd(**values).altered == altered


@pytest.mark.parametrize(
    ("values", "row"),
    [
        ({"blob": "00ff"}, {"blob": "\\x00ff"}),
        ({"blob": ""}, {"blob": "\\x"}),
        ({"blobs": ["00ff", None, ["\\x01"]]}, {"blobs": ["\\x00ff", None, ["\\x01"]]}),
        ({"code": None, "blob": None}, {"blob": None}),
    ],
)
def test_bytea_gets_the_prefix_that_realtime_leaves_out(values: Any, row: Any) -> None:
    found = odd(**values)
    assert found.row == {**ODD_ROW, "rate": Decimal("1.5"), **row}
    assert found.altered == frozenset()


def test_a_column_that_the_table_had_not_when_it_was_learnt_is_a_new_shape() -> None:
    assert not odd().new_shape
    change = odd(columns=[*ODD_TYPES, {"name": "new", "type": "int4"}], new=5)
    assert (change.new_shape, change.altered) == (True, frozenset())


def test_a_column_that_the_stream_does_not_know_is_asked_for() -> None:
    """A generated column that is not stored is in no change; a dropped one is nowhere."""
    change = odd(columns=[column for column in ODD_TYPES if column["name"] != "rate"])
    assert not change.new_shape
    assert change.altered == {"rate"}


DEEP = "[" * 5000 + "]" * 5000


def raw(record: str, **data: Any) -> bytes:
    return payload(type="UPDATE", **data).replace(
        b'"errors":null', b'"errors":null,"record":' + record.encode()
    )


def test_a_record_that_cannot_be_read_is_a_change_of_its_key_with_the_reason() -> None:
    record = f'{{"id": 1, "scope": "s", "title": {DEEP}, "version": 2, "changed_in": "7337"}}'
    change = read_change(raw(record), TABLES)
    assert isinstance(change, Change)
    assert (change.key, change.version, change.changed_in) == ("[1]", 2, 7337)
    assert "nested deeper" in change.errors[0]


def test_a_record_whose_key_cannot_be_read_is_withheld() -> None:
    change = read_change(raw(f'{{"id": {DEEP}, "version": 2}}'), TABLES)
    assert isinstance(change, Withheld)
    assert "nested deeper" in change.errors[0]


@pytest.mark.parametrize(
    ("title", "value"),
    [
        ("9" * 5000, Decimal("9" * 5000)),
        ('{"a": ' + "1" * 4301 + ".50}", {"a": Decimal("1" * 4301 + ".50")}),
        ('"\\u0000"', "\0"),
        ('"\\ud800"', "\ud800"),
        ('{"$decimal": "1"}', {"$decimal": "1"}),
        ('{"a": 1, "a": 2}', {"a": 2}),
    ],
)
def test_odd_values_are_read_as_they_are(title: str, value: Any) -> None:
    change = read_change(
        raw(f'{{"id": 1, "scope": "s", "title": {title}, "version": 2, "changed_in": "7"}}'), TABLES
    )
    assert isinstance(change, Change)
    assert change.row is not None
    assert change.row["title"] == value
    assert change.errors == ()


def test_a_watermark_is_no_row() -> None:
    row = {"id": "1", "user_id": "u", "mark": "m1", "created_at": "x"}
    assert read_change(payload(table="realtime_watermarks", type="INSERT", record=row), TABLES) == Mark("m1")
    gone = payload(table="realtime_watermarks", type="DELETE", old_record={"id": "1"})
    assert read_change(gone, TABLES) is None


def test_tables_that_are_not_followed_are_nothing() -> None:
    assert read_change(payload(table="others", type="INSERT", record={}), TABLES) is None


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"null",
        b"{}",
        b'{"data": {}}',
        b'{"data": 5}',
        payload(type="MERGE", record=RECORD),
        payload(type="INSERT"),
        payload(type="INSERT", record=[]),
        payload(type="UPDATE", record={**RECORD, "version": "x"}),
        payload(type="INSERT", record=RECORD, columns=[5]),
        payload(type="INSERT", record=5),
        payload(type="DELETE", old_record="x"),
        b'{"data": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b"[" * 5000,
        b"\xff",
    ],
)
def test_rubbish_is_a_protocol_error(rubbish: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_change(rubbish, TABLES)


def system(message: str, status: str, extension: str = "postgres_changes") -> Any:
    return {"message": message, "status": status, "extension": extension, "channel": "x"}


def test_system_messages() -> None:
    assert read_system(system("Subscribed to PostgreSQL", "ok")).subscribed
    assert not read_system(system("Server requested disconnect", "ok", "system")).subscribed
    assert read_system(system("Subscribed to PostgreSQL", "ok")).failure is None
    tables = read_system(system('{:error, "Too many database timeouts"}', "error")).failure
    assert isinstance(tables, Unreachable)
    for text in (
        "Token has expired 0 seconds ago",
        ":signature_error",
        "Fields `role` and `exp` are required in JWT",
        "You do not have permissions to read from this Channel topic: X",
    ):
        assert isinstance(read_system(system(text, "error", "system")).failure, Unauthorized)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("42", "42"),
        ("11111111-1111-1111-1111-111111111111", "11111111-1111-1111-1111-111111111111"),
        ("a.b", "a.b"),
        ("ünï ¢ode", "ünï ¢ode"),
        ("cherry, pie", '"cherry, pie"'),
        ('say "hi"', '"say \\"hi\\""'),
        ("back\\slash", '"back\\\\slash"'),
        ("f(x)", '"f(x)"'),
        (" padded ", '" padded "'),
        ("", ""),
    ],
)
def test_values_of_filters_are_quoted_where_they_must_be(value: str, written: str) -> None:
    assert quoted(value) == written


# --- the queue ---


async def test_events_come_out_in_order_and_none_is_dropped() -> None:
    inbox = Inbox(4)
    inbox.attended = True
    inbox.put([Recovered(n) for n in range(10)])
    inbox.close()
    taken = []
    while (event := await inbox.take()) is not None:
        taken.append(event)
    assert taken == [Recovered(n) for n in range(10)]


async def test_room_is_when_half_has_been_taken() -> None:
    inbox = Inbox(4)
    inbox.attended = True
    inbox.put([Recovered(n) for n in range(4)])
    assert inbox.full
    room = asyncio.ensure_future(inbox.room())
    await inbox.take()
    await asyncio.sleep(0)
    assert not inbox.full
    assert not room.done()
    await inbox.take()
    await asyncio.wait_for(room, 1)


async def test_where_nobody_takes_events_they_are_forgotten() -> None:
    inbox = Inbox(4)
    for n in range(103):
        inbox.put([Recovered(n)])
    assert len(inbox) < 4
    await asyncio.wait_for(inbox.room(), 1)
    assert await inbox.take() == Recovered(100)


async def test_a_taker_who_has_left_counts_as_none() -> None:
    inbox = Inbox(4)
    inbox.put([Recovered(0)])
    assert await inbox.take() == Recovered(0)
    inbox.put([Recovered(n) for n in range(1, 5)])
    waiting = asyncio.ensure_future(inbox.room())
    await asyncio.sleep(0)
    inbox.leave()
    await asyncio.wait_for(waiting, 1)
    for n in range(5, 108):
        inbox.put([Recovered(n)])
        assert not inbox.full
    assert await inbox.take() == Recovered(105)
    assert inbox.attended


async def test_a_waiting_taker_learns_of_the_end() -> None:
    inbox = Inbox(4)
    taker = asyncio.ensure_future(inbox.take())
    await asyncio.sleep(0)
    inbox.close()
    assert await asyncio.wait_for(taker, 1) is None

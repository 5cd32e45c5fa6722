"""The pgoutput decoder against messages built by hand as the manual describes them."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_toolkit.errors import ProtocolError
from realtime_toolkit.wal import decoder as wal
from realtime_toolkit.wal.decoder import (
    UNCHANGED,
    Commit,
    Decoder,
    Keepalive,
    LogicalMessage,
    RowChange,
    WalData,
)

MICROSECONDS = st.integers(0, 2**55)


def begin(commit_us: int = 0, xid: int = 7) -> bytes:
    return b"B" + struct.pack("!QqI", 1, commit_us - wal.POSTGRES_EPOCH_US, xid)


def commit(end: int = 99) -> bytes:
    return b"C" + struct.pack("!BQQq", 0, 1, end, 0)


def relation(oid: int = 5, *columns: str, identity: str = "d", key: int = 1) -> bytes:
    body = (
        b"R" + struct.pack("!I", oid) + b"public\0t\0" + identity.encode() + struct.pack("!H", len(columns))
    )
    for index, name in enumerate(columns):
        body += bytes([index < key]) + name.encode() + b"\0" + struct.pack("!Ii", 25, -1)
    return body


def row(*values: object) -> bytes:
    body = struct.pack("!H", len(values))
    for value in values:
        if value is None:
            body += b"n"
        elif isinstance(value, bytes):
            body += b"t" + struct.pack("!I", len(value)) + value
        else:
            body += b"u"
    return body


def decode(*messages: bytes) -> list[RowChange | LogicalMessage]:
    decoder = Decoder()
    results = [decoder.feed(message) for message in (*messages, commit())]
    assert results.pop() == Commit(7, 99)
    return [result for result in results if isinstance(result, RowChange | LogicalMessage)]


def test_an_insert() -> None:
    insert = b"I\0\0\0\5N" + row(b"1", None)
    (change,) = decode(begin(1_700_000_000_123_456), relation(5, "id", "t"), insert)
    assert isinstance(change, RowChange)
    assert change.commit_us == 1_700_000_000_123_456
    assert (change.kind, change.new, change.old) == ("INSERT", [b"1", None], None)
    assert [column.in_identity for column in change.relation.columns] == [True, False]


def test_updates_with_and_without_old_rows() -> None:
    plain = b"U\0\0\0\5N" + row(b"1", UNCHANGED)
    key_changed = b"U\0\0\0\5K" + row(b"1", None) + b"N" + row(b"2", b"x")
    full = b"U\0\0\0\5O" + row(b"2", b"x") + b"N" + row(b"2", b"y")
    changes = decode(begin(), relation(5, "id", "t"), plain, key_changed, full)
    assert [(c.new, c.old, c.old_is_key) for c in changes if isinstance(c, RowChange)] == [
        ([b"1", UNCHANGED], None, False),
        ([b"2", b"x"], [b"1", None], True),
        ([b"2", b"y"], [b"2", b"x"], False),
    ]


def test_deletes_by_key_and_by_whole_row() -> None:
    messages = (b"D\0\0\0\5K" + row(b"1", None), b"D\0\0\0\5O" + row(b"1", b"x"))
    changes = decode(begin(), relation(5, "id", "t"), *messages)
    assert [(c.kind, c.old, c.old_is_key) for c in changes if isinstance(c, RowChange)] == [
        ("DELETE", [b"1", None], True),
        ("DELETE", [b"1", b"x"], False),
    ]


def test_a_transactional_message_keeps_its_place() -> None:
    message = b"M\1" + struct.pack("!Q", 3) + b"toolkit\0" + struct.pack("!I", 3) + b"ddl"
    changes = decode(begin(), relation(5, "id"), b"I\0\0\0\5N" + row(b"1"), message)
    assert changes[1] == LogicalMessage("toolkit", b"ddl", 7)


def test_truncate_type_and_origin_are_passed_over() -> None:
    assert decode(begin(), b"T\0\0\0\1\0\0\0\0\5", b"Y\0", b"O\0") == []


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"Z",
        b"I\0\0\0\5N",
        b"I\0\0\0\6N" + row(b"1"),
        b"I\0\0\0\5N\0\1t\0\0\0\x09x",
        b"I\0\0\0\5N\0\1?",
        b"R\0\0",
    ],
)
def test_malformed_messages(message: bytes) -> None:
    decoder = Decoder()
    decoder.feed(begin())
    decoder.feed(relation(5, "id"))
    with pytest.raises(ProtocolError):
        decoder.feed(message)


def test_a_change_outside_of_a_transaction() -> None:
    decoder = Decoder()
    decoder.feed(relation(5, "id"))
    with pytest.raises(ProtocolError, match="outside"):
        decoder.feed(b"I\0\0\0\5N" + row(b"1"))


@given(st.lists(st.one_of(st.none(), st.binary(max_size=40), st.just(UNCHANGED)), max_size=6))
def test_any_row_reads_back(values: list[bytes | None]) -> None:
    names = [f"c{index}" for index in range(len(values))]
    (change,) = decode(begin(), relation(5, *names), b"I\0\0\0\5N" + row(*values))
    assert isinstance(change, RowChange)
    assert change.new == values


@given(st.binary(max_size=60))
def test_garbage_raises_nothing_else(payload: bytes) -> None:
    decoder = Decoder()
    decoder.feed(begin())
    decoder.feed(relation(5, "id"))
    try:
        decoder.feed(payload)
        wal.decode_frame(payload)
    except ProtocolError:
        pass


def test_frames_of_the_stream() -> None:
    data = b"w" + struct.pack("!QQQ", 1, 2, 3) + b"B.."
    assert wal.decode_frame(data) == WalData(1, 2, b"B..")
    assert wal.decode_frame(b"k" + struct.pack("!QQ?", 9, 3, True)) == Keepalive(9, True)


@given(st.integers(0, 2**63), MICROSECONDS)
def test_status_update_has_three_positions(lsn: int, now: int) -> None:
    kind, written, flushed, applied, clock, _ = struct.unpack(
        "!cQQQq?", wal.encode_status(lsn, now + wal.POSTGRES_EPOCH_US)
    )
    assert (kind, written, flushed, applied, clock) == (b"r", lsn, lsn, lsn, now)
    assert wal.parse_lsn(wal.format_lsn(lsn)) == lsn

"""Pure decoder of ``pgoutput``, protocol version 1, text format: bytes in, messages out.

A replication stream in COPY_BOTH mode carries two kinds of frame: WAL data (``w``) and keepalives
(``k``). :func:`decode_frame` tells them apart; :class:`Decoder` turns the payload of WAL data into
changes, remembering the relations it was told of. Without the option ``streaming`` the server sends only
transactions that have committed, one after the other, so a change can be used as soon as it arrives.
Source: the chapters "Streaming Replication Protocol" and "Logical Replication Message Formats" of the
PostgreSQL manual.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from realtime_toolkit.errors import ProtocolError

POSTGRES_EPOCH_US: Final = 946_684_800_000_000
"""2000-01-01 in microseconds since 1970, the zero of Postgres' timestamps."""


class Unchanged:
    """The value of a TOASTed column that the UPDATE did not touch: it is not in the WAL."""

    def __repr__(self) -> str:
        return "UNCHANGED"


UNCHANGED: Final = Unchanged()
Value = bytes | None | Unchanged
"""The column's text in UTF-8, NULL, or :data:`UNCHANGED`."""


@dataclass(frozen=True, slots=True)
class WalData:
    start: int
    end: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Keepalive:
    end: int
    reply_wanted: bool


@dataclass(frozen=True, slots=True)
class RelationColumn:
    name: str
    type_oid: int
    type_modifier: int
    in_identity: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as the stream describes it before its first change. Told again when it changed."""

    oid: int
    schema: str
    table: str
    replica_identity: str
    """``d`` default, ``n`` nothing, ``f`` full, ``i`` index."""
    columns: tuple[RelationColumn, ...]


@dataclass(frozen=True, slots=True)
class RowChange:
    """One changed row. ``old`` is the old row under identity full, only its identity columns (others
    ``None``) if ``old_is_key``, and ``None`` where the WAL has no old row."""

    kind: str
    """``INSERT``, ``UPDATE`` or ``DELETE``."""
    relation: Relation
    commit_us: int
    """Commit time in microseconds since 1970."""
    new: list[Value] | None
    xid: int
    """The transaction, as the 32 bits that the WAL has of its number."""
    old: list[Value] | None = None
    old_is_key: bool = False


@dataclass(frozen=True, slots=True)
class LogicalMessage:
    """What ``pg_logical_emit_message`` wrote."""

    prefix: str
    content: bytes
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    """The end of a transaction. Everything before ``end`` was sent."""

    xid: int
    end: int


_WAL = struct.Struct("!cQQQ")
_KEEPALIVE = struct.Struct("!cQQ?")
_STATUS = struct.Struct("!cQQQQ?")
_BEGIN = struct.Struct("!QqI")
_COMMIT = struct.Struct("!BQQq")
_U16 = struct.Struct("!H")
_U32 = struct.Struct("!I")
_I32 = struct.Struct("!i")


def decode_frame(frame: bytes) -> WalData | Keepalive:
    """One CopyData of the stream; raises :class:`ProtocolError`."""
    try:
        if frame[:1] == b"w":
            _, start, end, _ = _WAL.unpack_from(frame)
            return WalData(start, end, frame[_WAL.size :])
        if frame[:1] == b"k":
            _, end, _, reply_wanted = _KEEPALIVE.unpack_from(frame)
            return Keepalive(end, reply_wanted)
    except struct.error as error:
        raise ProtocolError(f"replication stream: {error}") from None
    raise ProtocolError(f"replication stream: unknown frame {frame[:1]!r}")


def encode_status(lsn: int, now_us: int, *, reply_wanted: bool = False) -> bytes:
    """Standby status update: everything before ``lsn`` was received, stored and applied. ``now_us`` is
    in microseconds since 1970."""
    return _STATUS.pack(b"r", lsn, lsn, lsn, now_us - POSTGRES_EPOCH_US, reply_wanted)


def format_lsn(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    high, _, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


class Decoder:
    """``feed`` takes payloads in the stream's order."""

    def __init__(self) -> None:
        self.relations: dict[int, Relation] = {}
        self._xid: int | None = None
        self._commit_us = 0

    def feed(self, payload: bytes) -> RowChange | LogicalMessage | Commit | None:
        """What the message means to subscribers; raises :class:`ProtocolError`."""
        try:
            return self._feed(payload)
        except (struct.error, IndexError, ValueError) as error:
            raise ProtocolError(f"pgoutput message {payload[:1]!r} is cut or malformed: {error}") from None

    def _feed(self, payload: bytes) -> RowChange | LogicalMessage | Commit | None:
        kind = payload[:1]
        if kind in (b"I", b"U", b"D"):
            return _row_change(payload, self.relations, self._commit_us, self._in_transaction())
        if kind == b"B":
            _, commit_time, self._xid = _BEGIN.unpack_from(payload, 1)
            self._commit_us = commit_time + POSTGRES_EPOCH_US
        elif kind == b"C":
            return self._commit(payload)
        elif kind == b"R":
            relation = _relation(payload)
            self.relations[relation.oid] = relation
        elif kind == b"M":
            return self._message(payload)
        elif kind not in (b"Y", b"O", b"T"):  # types, origins and TRUNCATE tell subscribers nothing
            raise ProtocolError(f"unknown pgoutput message {kind!r}")
        return None

    def _in_transaction(self) -> int:
        if self._xid is None:
            raise ProtocolError("pgoutput: a change outside of any transaction")
        return self._xid

    def _commit(self, payload: bytes) -> Commit:
        xid = self._in_transaction()
        _, _, end, _ = _COMMIT.unpack_from(payload, 1)
        self._xid = None
        return Commit(xid, end)

    def _message(self, payload: bytes) -> LogicalMessage | None:
        transactional = payload[1] & 1
        prefix, offset = _text(payload, 10)
        (length,) = _U32.unpack_from(payload, offset)
        content = payload[offset + 4 : offset + 4 + length]
        return LogicalMessage(prefix, content, self._in_transaction()) if transactional else None


def _text(payload: bytes, offset: int) -> tuple[str, int]:
    end = payload.index(b"\0", offset)
    return payload[offset:end].decode(), end + 1


def _relation(payload: bytes) -> Relation:
    (oid,) = _U32.unpack_from(payload, 1)
    schema, offset = _text(payload, 5)
    table, offset = _text(payload, offset)
    identity = chr(payload[offset])
    (count,) = _U16.unpack_from(payload, offset + 1)
    offset += 3
    columns = []
    for _ in range(count):
        in_identity = bool(payload[offset] & 1)
        name, offset = _text(payload, offset + 1)
        (type_oid,), (modifier,) = _U32.unpack_from(payload, offset), _I32.unpack_from(payload, offset + 4)
        columns.append(RelationColumn(name, type_oid, modifier, in_identity))
        offset += 8
    return Relation(oid, schema or "pg_catalog", table, identity, tuple(columns))


def _row_change(payload: bytes, relations: dict[int, Relation], commit_us: int, xid: int) -> RowChange:
    (oid,) = _U32.unpack_from(payload, 1)
    relation = relations.get(oid)
    if relation is None:
        raise ProtocolError(f"pgoutput: a change of relation {oid}, which was never described")
    kind, tag = payload[0], payload[5]
    if kind == 0x49:  # I
        return RowChange("INSERT", relation, commit_us, _tuple(payload, 6)[0], xid)
    if kind == 0x44:  # D
        return RowChange("DELETE", relation, commit_us, None, xid, _tuple(payload, 6)[0], tag == 0x4B)
    if tag == 0x4E:  # N: no old row
        return RowChange("UPDATE", relation, commit_us, _tuple(payload, 6)[0], xid)
    old, offset = _tuple(payload, 6)
    return RowChange("UPDATE", relation, commit_us, _tuple(payload, offset + 1)[0], xid, old, tag == 0x4B)


def _tuple(payload: bytes, offset: int) -> tuple[list[Value], int]:
    (count,) = _U16.unpack_from(payload, offset)
    offset += 2
    values: list[Value] = []
    for _ in range(count):
        tag = payload[offset]
        offset += 1
        if tag == 0x74:  # t: text
            (length,) = _U32.unpack_from(payload, offset)
            end = offset + 4 + length
            if end > len(payload):
                raise ProtocolError("pgoutput: a value is longer than its message")
            values.append(payload[offset + 4 : end])
            offset = end
        elif tag == 0x6E:  # n
            values.append(None)
        elif tag == 0x75:  # u
            values.append(UNCHANGED)
        else:
            raise ProtocolError(f"pgoutput: unknown kind of value {tag:#x}")
    return values, offset

"""A change as JSON: the columns a role may see of it, rendered once for everybody who may see the same."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from realtime_toolkit.stack.realtime.access import array_literal
from realtime_toolkit.stack.realtime.values import NULL, Converter, converter, text_of
from realtime_toolkit.wal import decoder as wal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg import AsyncConnection

    from realtime_toolkit.stack.realtime.catalog import Table

NO_KEY = "Error 400: Bad Request, no primary key"
UNAUTHORIZED = "Error 401: Unauthorized"
TOO_LARGE = "Error 413: Payload Too Large"
_SMALL = 64
"""Bytes of a value that is still sent of a row that is too large."""

Values = dict[str, bytes]
"""Column → JSON. A column whose value is not in the WAL is missing."""


@dataclass(slots=True)
class Row:
    """One change, its values rendered. ``old`` are the values of the replica identity."""

    table: Table
    kind: str
    commit_us: int
    record: Values
    old: Values
    too_large: bool = False
    error: str | None = None
    """Why nothing of it may be shown to anybody (for faults)."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A value that only the database can render."""

    target: Values
    column: str
    sql_type: str
    text: bytes


class Layout:
    """How the values of one relation are rendered."""

    def __init__(self, relation: wal.Relation, table: Table) -> None:
        known = {column.name: column for column in table.columns}
        self.table = table
        self.relation = relation
        self.full = relation.replica_identity == "f"
        self.columns: list[tuple[int, str, Converter | None, str]] = []
        for index, column in enumerate(relation.columns):
            found = known.get(column.name)
            if found is not None:  # dropped since the change
                self.columns.append((index, column.name, converter(found.type), found.sql_type))
        identity = {c.name for c in relation.columns if c.in_identity}
        self.identity = [entry for entry in self.columns if entry[1] in identity]
        self.overhead = 200 + sum(80 + 2 * len(column.name) for column in relation.columns)

    def row(self, change: wal.RowChange, pending: list[Pending], max_bytes: int) -> Row:
        record: Values = {}
        old: Values = {}
        if change.new is not None:
            _render(self.columns, change.new, record, pending)
        if change.kind != "INSERT":
            _render(self.identity, change.old or change.new or [], old, pending)
        row = Row(self.table, change.kind, change.commit_us, record, old)
        raw = _size(change.new) + _size(change.old)
        row.too_large = raw + self.overhead > max_bytes
        return row


def _size(values: list[wal.Value] | None) -> int:
    return sum(len(value) for value in values if isinstance(value, bytes)) if values else 0


def _render(
    columns: list[tuple[int, str, Converter | None, str]],
    values: Sequence[wal.Value],
    target: Values,
    pending: list[Pending],
) -> None:
    for index, name, convert, sql_type in columns:
        value = values[index]
        if value is None:
            target[name] = NULL
        elif isinstance(value, bytes):
            if convert is not None:
                target[name] = convert(value)
            else:
                pending.append(Pending(target, name, sql_type, value))


async def render_pending(connection: AsyncConnection[Any], pending: list[Pending]) -> None:
    """Have the database render what is left: one round trip."""
    by_type: dict[str, list[Pending]] = {}
    for item in pending:
        by_type.setdefault(item.sql_type, []).append(item)
    queries = [
        f"select coalesce(to_jsonb(k.v::{sql_type})::text, 'null') from unnest("
        f"{array_literal([item.text.decode() for item in items], 'text')}) with ordinality k(v, i) order by k.i"
        for sql_type, items in by_type.items()
    ]
    cursor = await connection.execute(";".join(queries).encode())
    for items in by_type.values():
        for item, (text,) in zip(items, await cursor.fetchall(), strict=True):
            item.target[item.column] = text.encode()
        cursor.nextset()


# --- JSON of a change -----------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Shape:
    """The columns of a table that some role and binding may see, and what of a change never varies."""

    table: Table
    visible: frozenset[str]
    order: list[tuple[str, bytes]] = field(init=False)
    head: dict[str, bytes] = field(init=False)
    tail: bytes = field(init=False)

    def __post_init__(self) -> None:
        names = sorted(self.visible, key=lambda name: (len(name.encode()), name.encode()))
        self.order = [(name, orjson.dumps(name) + b": ") for name in names]
        columns = [
            b'{"name": %s, "type": %s}' % (orjson.dumps(c.name), orjson.dumps(c.type_name))
            for c in self.table.columns
            if c.name in self.visible
        ]
        table, schema = orjson.dumps(self.table.name), orjson.dumps(self.table.schema)
        self.head = {
            kind: b'{"table":%s,"type":"%s",' % (table, kind.encode())
            for kind in ("INSERT", "UPDATE", "DELETE")
        }
        self.tail = b'"columns":[%s],"errors":%%s,"schema":%s,"commit_timestamp":"%%s"' % (
            b", ".join(columns).replace(b"%", b"%%"),
            schema.replace(b"%", b"%%"),
        )

    def data(self, row: Row) -> bytes:
        """``data`` of a ``postgres_changes`` payload."""
        parts = [self.head[row.kind]]
        if row.kind != "DELETE":
            merged = {**row.old, **row.record} if len(row.record) < len(row.old) else row.record
            source = _small(row.record) if row.too_large else merged
            parts += (b'"record":', self._object(source), b",")
        errors = b'["%s"]' % TOO_LARGE.encode() if row.too_large else b"null"
        parts.append(self.tail % (errors, commit_timestamp(row.commit_us // 1000)))
        if row.kind != "INSERT":
            parts += (b',"old_record":', self._object(self._old(row)))
        parts.append(b"}")
        return b"".join(parts)

    def _old(self, row: Row) -> Values:
        old = _small(row.old) if row.too_large else row.old
        if row.kind == "DELETE" and row.table.rls:  # no policy can be asked about a row that is gone
            return {name: value for name, value in old.items() if name in row.table.key}
        return old

    def _object(self, values: Values) -> bytes:
        return b"{%s}" % b", ".join([prefix + values[name] for name, prefix in self.order if name in values])


def _small(values: Values) -> Values:
    return {name: value for name, value in values.items() if value != NULL and len(value) <= _SMALL}


def refusal(row: Row, error: str) -> bytes:
    """``data`` of a change that may not be shown at all."""
    old = b',"old_record":{}' if row.kind == "UPDATE" else b""
    return b'{"table":%s,"type":"%s","record":{},"columns":[],"errors":["%s"],"schema":%s,%s%s}' % (
        orjson.dumps(row.table.name),
        row.kind.encode(),
        error.encode(),
        orjson.dumps(row.table.schema),
        b'"commit_timestamp":null',
        old,
    )


@lru_cache(maxsize=64)
def commit_timestamp(milliseconds: int) -> bytes:
    """``2026-11-21T09:01:17.523Z``"""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000))
    return f"{whole}.{milliseconds % 1000:03d}Z".encode()


def keys_of(rows: Iterable[Row]) -> list[list[str]]:
    """Texts of the primary key of each row, in the key's order."""
    return [[text_of(row.record[name]) or "" for name in row.table.key] for row in rows]


def truncate(row: Row, how: str) -> str | None:
    """Withhold values as it happens to large or forbidden ones (for faults): ``toast``, ``413``, ``400``
    or ``401``; the error in place of all values for the last two."""
    if how in ("400", "401"):
        return NO_KEY if how == "400" else UNAUTHORIZED
    others = [name for name in row.record if name not in row.table.key]
    row.too_large = how == "413"
    if others and row.kind != "DELETE":
        row.record.pop(max(others, key=lambda name: len(row.record[name])))
    return None

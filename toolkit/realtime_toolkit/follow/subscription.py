"""What a listener asks Realtime for, and what the channel's messages say. No I/O.

Source for the formats: frames recorded from the genuine server v2.129.8, and its filter grammar.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from realtime_toolkit.errors import InputError, ProtocolError, Unauthorized, Unreachable
from realtime_toolkit.exact import Unreadable, dumps, loads, read_row, shallow
from realtime_toolkit.model import Change, ChangeType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from realtime_toolkit.errors import ToolkitError
    from realtime_toolkit.model import Row, Scope, TrackedTable

WATERMARKS = "public.realtime_watermarks"
_NONE: frozenset[str] = frozenset()
_NEEDS_QUOTES = frozenset(',"\\()')


@dataclass(frozen=True, slots=True)
class Withheld:
    """A change that came without its key, so without saying which row: errors 400 and 401."""

    table: str
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A watermark passed in the stream."""

    mark: str


@dataclass(frozen=True, slots=True)
class SystemMessage:
    ok: bool
    extension: str
    text: str

    @property
    def subscribed(self) -> bool:
        """Changes flow from here on; the join's reply alone does not say so."""
        return self.ok and self.extension == "postgres_changes"

    @property
    def failure(self) -> ToolkitError | None:
        """The error to end the session with: after one of these the server does not try again."""
        return None if self.ok else refusal(f"Realtime says: {self.text}", self.text)


class PrivateOnlyError(Unauthorized):
    """The project allows private channels only."""


class NoWatermarksError(Unreachable):
    """The watermarks cannot be subscribed to, which keeps all of the channel's tables from it."""


def join_config(
    scope: Scope, tables: Sequence[TrackedTable], user_id: str | None, *, private: bool = False
) -> dict[str, Any]:
    """The ``config`` of ``phx_join``: every table of the scope, and the watermarks of ``user_id``."""
    bindings = [_binding(table.schema, table.table, table.scope_column, scope.value) for table in tables]
    if user_id is not None:
        bindings.append(_binding("public", "realtime_watermarks", "user_id", user_id))
    return {
        "broadcast": {"ack": False, "self": False},
        "presence": {"key": "", "enabled": False},
        "postgres_changes": bindings,
        "private": private,
    }


def _binding(schema: str, table: str, column: str, value: str) -> dict[str, str]:
    return {"event": "*", "schema": schema, "table": table, "filter": f"{column}=eq.{quoted(value)}"}


def quoted(value: str) -> str:
    """A filter's value: in double quotes where it would be cut or trimmed otherwise.

    >>> quoted('cherry, pie')
    '"cherry, pie"'
    """
    if not _NEEDS_QUOTES & set(value) and value == value.strip():
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def refusal(line: str, reason: str) -> ToolkitError:
    """:class:`Unauthorized` where the reason speaks of token or rights, :class:`InputError` where it says that
    the scope's value is not of its column's type (SQLSTATE 22P02), otherwise :class:`Unreachable`."""
    if "realtime_watermarks" in reason:
        return NoWatermarksError(line)
    if reason.startswith("PrivateOnly"):
        return PrivateOnlyError(line)
    if "22P02" in reason:
        return InputError(line)
    words = ("jwt", "token", "unauthorized", "permission", "signature", "api key")
    kind = Unauthorized if any(word in reason.lower() for word in words) else Unreachable
    return kind(line)


def read_system(payload: Any) -> SystemMessage:
    """Raises :class:`ProtocolError` for anything else."""
    match payload:
        case {"status": str(status), "message": message, "extension": str(extension)}:
            return SystemMessage(status == "ok", extension, str(message))
    raise ProtocolError(f"not a system message: {str(payload)[:200]}")


def read_change(payload: bytes, tables: Mapping[str, TrackedTable]) -> Change | Withheld | Mark | None:
    """The JSON of a ``postgres_changes`` payload; ``None`` for a table that is not followed.

    Raises :class:`ProtocolError` for anything else. A record that cannot be read (:class:`~realtime_toolkit.exact.Unreadable`)
    is a change with ``errors``, if its key can.
    """
    try:
        data = _data(payload)
        name = f"{data.schema}.{data.table}"
        if name == WATERMARKS:
            return Mark(str(read_row(bytes(data.record))["mark"])) if data.type is ChangeType.INSERT else None
        table = tables.get(name)
        return _read(data, table) if table is not None else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"not a change: {error!r} in {payload[:200]!r}") from None


class _Data(msgspec.Struct, gc=False):
    """What lies in a payload under ``data``, its rows unread."""

    schema: str
    table: str
    type: ChangeType
    commit_timestamp: str | None = None
    errors: list[Any] | None = None
    columns: msgspec.Raw = msgspec.Raw(b"null")
    record: msgspec.Raw = msgspec.Raw(b"null")
    old_record: msgspec.Raw = msgspec.Raw(b"null")


class _Payload(msgspec.Struct, gc=False):
    data: _Data


_payload = msgspec.json.Decoder(_Payload)


def _data(payload: bytes) -> _Data:
    try:
        return _payload.decode(payload).data
    except (ValueError, RecursionError):  # rubbish, or with a row in it that this reader does not take
        return _without_rows(payload)


def _without_rows(payload: bytes) -> _Data:
    outer = shallow(payload)
    fields = shallow(outer["data"]) if isinstance(outer, dict) else outer
    if not isinstance(fields, dict):
        raise ValueError("no object")
    rows = {name: msgspec.Raw(fields.pop(name)) for name in ("record", "old_record") if name in fields}
    rest = {name: msgspec.Raw(text) for name, text in fields.items()}
    return msgspec.structs.replace(msgspec.json.decode(dumps(rest), type=_Data), **rows)


def _read(data: _Data, table: TrackedTable) -> Change | Withheld:
    is_delete = data.type is ChangeType.DELETE
    errors = tuple(map(str, data.errors)) if data.errors else ()
    text = bytes(data.old_record if is_delete else data.record)
    try:
        row = read_row(text)
    except Unreadable as error:
        row, errors = _readable_part(text), (*errors, f"the record {error}")
    try:
        key = _key(row, table)
    except KeyError:
        return Withheld(table.name, errors or ("its key is missing",))
    if is_delete:
        return Change(table.name, data.type, key, committed_at=data.commit_timestamp, errors=errors)
    version, changed_in = _integer(row.get("version")), _integer(row.get("changed_in"))
    if errors:
        return Change(
            table.name, data.type, key, version, changed_in, row, data.commit_timestamp, errors=errors
        )
    shape = _shape(bytes(data.columns))
    for column in shape.bytea:
        if column in row:
            row[column] = _mended(row[column])
    return Change(
        table.name,
        data.type,
        key,
        version,
        changed_in,
        row,
        data.commit_timestamp,
        _missing(row, shape.names or frozenset(table.columns)),
        altered=_altered(row, table, shape),
        new_shape=shape.listed != table.columns and _has_new(shape, table),
    )


def _readable_part(text: bytes) -> Row:
    """The columns of a record of which some cannot be read; raises :class:`ValueError` where it is no record."""
    found = shallow(text)
    if not isinstance(found, dict):
        raise ValueError("its record is no object")
    row = {}
    for column, value in found.items():
        with suppress(ValueError):
            row[column] = loads(value)
    return row


def _key(row: Row, table: TrackedTable) -> str:
    """Canonical; raises :class:`ValueError` for one that is no text, as no key in Postgres is."""
    key = table.key_of(row)
    if not key.isascii():
        key.encode()
    return key


@dataclass(frozen=True, slots=True)
class _Shape:
    """What ``columns`` of a payload says."""

    listed: tuple[str, ...]
    names: frozenset[str]
    bytea: tuple[str, ...]


class _Column(msgspec.Struct):
    name: str
    type: str = ""


@lru_cache(maxsize=1024)
def _shape(columns: bytes) -> _Shape:
    """Cached: it is the same text in every change of a table."""
    found = msgspec.json.decode(columns, type=list[_Column] | None) or []
    listed = tuple(column.name for column in found)
    bytea = tuple(column.name for column in found if column.type in ("bytea", "_bytea"))
    return _Shape(listed, frozenset(listed), bytea)


def _mended(value: Any) -> Any:
    """``bytea`` as ``to_jsonb`` writes it: Realtime leaves the prefix out, but for elements of arrays."""
    if isinstance(value, list):
        return [_mended(each) for each in value]
    return f"\\x{value}" if isinstance(value, str) and not value.startswith("\\x") else value


def _missing(row: Row, expected: frozenset[str]) -> frozenset[str]:
    return _NONE if expected <= row.keys() else frozenset(expected - row.keys())


def _has_new(shape: _Shape, table: TrackedTable) -> bool:
    return bool(table.columns) and not shape.names <= set(table.columns)


def _altered(row: Row, table: TrackedTable, shape: _Shape) -> frozenset[str]:
    """The columns of which the record does not tell what the database has."""
    if not table.altered and not table.nulled and shape.listed == table.columns:
        return _NONE
    found = {column for column in table.altered if row.get(column) is not None}
    found |= {column for column in table.nulled if column in row and _has_null(row[column])}
    if shape.names and shape.listed != table.columns:
        found |= set(table.columns) - shape.names  # generated when it is read, or dropped since
    return frozenset(found) if found else _NONE


def _has_null(value: Any) -> bool:
    return any(map(_has_null, value)) if isinstance(value, list) else value is None


def _integer(value: Any) -> int | None:
    return None if value is None else int(value)

"""What a listener asks Realtime for, and what the channel's messages say. No I/O.

Source for the formats: frames recorded from the genuine server v2.129.8, and its filter grammar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from realtime_toolkit.errors import InputError, ProtocolError, Unauthorized, Unreachable
from realtime_toolkit.model import Change, ChangeType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from realtime_toolkit.errors import ToolkitError
    from realtime_toolkit.model import Row, Scope, TrackedTable

WATERMARKS = "public.realtime_watermarks"
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


def read_change(payload: Any, tables: Mapping[str, TrackedTable]) -> Change | Withheld | Mark | None:
    """A ``postgres_changes`` payload; ``None`` for a table that is not followed.

    Raises :class:`ProtocolError` for anything else. Its numbers must have been read with ``Decimal``.
    """
    try:
        data = payload["data"]
        name = f"{data['schema']}.{data['table']}"
        if name == WATERMARKS:
            return Mark(str(data["record"]["mark"])) if data["type"] == ChangeType.INSERT else None
        table = tables.get(name)
        return _read(data, table) if table is not None else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"not a change: {error!r} in {str(payload)[:200]}") from None


def _read(data: Mapping[str, Any], table: TrackedTable) -> Change | Withheld:
    type_ = ChangeType(data["type"])
    errors = tuple(str(error) for error in data.get("errors") or ())
    row: Row = data["old_record"] if type_ is ChangeType.DELETE else data["record"]
    if not row.keys() >= set(table.key_columns):
        return Withheld(table.name, errors or ("its key is missing",))
    committed_at = data.get("commit_timestamp")
    if type_ is ChangeType.DELETE:
        return Change(table.name, type_, table.key_of(row), committed_at=committed_at, errors=errors)
    return Change(
        table.name,
        type_,
        table.key_of(row),
        _integer(row.get("version")),
        _integer(row.get("changed_in")),
        row,
        committed_at,
        frozenset() if errors else _expected(data, table) - row.keys(),
        errors,
    )


def _expected(data: Mapping[str, Any], table: TrackedTable) -> frozenset[str]:
    columns = data.get("columns")
    return frozenset(column["name"] for column in columns) if columns else frozenset(table.columns)


def _integer(value: Any) -> int | None:
    return None if value is None else int(value)

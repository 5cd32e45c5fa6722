"""What a postgres_changes binding asks for. Pure: join payloads in, bindings or complaints out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from realtime_toolkit.stack.realtime.elixir import inspect

OPERATORS = (
    *("eq", "neq", "lt", "lte", "gt", "gte", "in"),
    *("like", "ilike", "is", "match", "imatch", "isdistinct"),
)
_NO_PARAMS = (
    "No subscription params provided. Please provide at least a `schema` or `table` to subscribe to: "
)
_SELECT_SHAPE = (
    'Error parsing `select` params: expected a list of column name strings, e.g. select: ["col1", "col2"]'
)
_SELECT_WILDCARD = (
    "Column selection is not supported for wildcard subscriptions. Provide an explicit schema and table name."
)


class BindingError(Exception):
    """A binding that cannot be subscribed; the text is what the channel is told."""


@dataclass(frozen=True, slots=True)
class Filter:
    """One condition: ``column=[not.]operator.value``. ``value`` of ``in`` is an array literal."""

    column: str
    operator: str
    value: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Binding:
    """``action`` is ``*``, INSERT, UPDATE or DELETE; schema and table are LIKE patterns, ``*`` for any.
    ``select`` is ``None`` for all columns."""

    action: str
    schema: str
    table: str
    filters: tuple[Filter, ...] = ()
    select: tuple[str, ...] | None = None

    def __str__(self) -> str:
        """As the server prints it in its error messages."""
        filters = inspect([(f.column, f.operator, f.value, f.negated) for f in self.filters])
        select = inspect(None if self.select is None else list(self.select))
        return (
            f"event: {self.action}, schema: {self.schema}, table: {self.table}, "
            f"filters: {filters}, select: {select}"
        )


def parse(params: dict[str, Any]) -> Binding:
    """Read one element of ``config.postgres_changes``; raises :class:`BindingError`."""
    select = _parse_select(params.get("select"))
    schema, table = params.get("schema"), params.get("table")
    filters: tuple[Filter, ...] = ()
    match params:
        case {"schema": str(), "table": str(), "filter": str(text)}:
            filters = parse_filters(text)
        case {"filter": _}:
            raise BindingError(_no_params(params))
        case {"schema": str(), "table": str()}:
            pass
        case {"schema": str()} if "table" not in params:
            table = "*"
        case {"table": str()} if "schema" not in params:
            schema = "public"
        case _:
            raise BindingError(_no_params(params))
    if select is not None and "*" in (schema, table):
        raise BindingError(_SELECT_WILDCARD)
    return Binding(_action(params.get("event")), str(schema), str(table), filters, select)


def from_topic(name: str) -> dict[str, Any]:
    """The binding that an old-style topic ``schema[:table[:filter]]`` stands for."""
    return dict(zip(("schema", "table", "filter"), name.split(":", 2), strict=False))


def _no_params(params: dict[str, Any]) -> str:
    hidden = "user_token" in params or "auth_token" in params
    return _NO_PARAMS + ("<redacted>" if hidden else inspect(params))


def _parse_select(select: Any) -> tuple[str, ...] | None:
    if isinstance(select, str):
        raise BindingError(_SELECT_SHAPE)
    if not isinstance(select, list):
        return None
    return tuple(column for column in select if isinstance(column, str)) or None


def _action(event: Any) -> str:
    upper = event.upper() if isinstance(event, str) else "*"
    return upper if upper in ("INSERT", "UPDATE", "DELETE") else "*"


def parse_filters(text: str) -> tuple[Filter, ...]:
    """Comma-joined conditions, all of which must hold; raises :class:`BindingError`."""
    text = text.strip()
    if not text:
        return ()
    return tuple(_parse_filter(segment.strip()) for segment in split_conditions(text))


def split_conditions(text: str) -> list[str]:
    """Split at commas outside of parentheses and of double quotes that begin a value."""
    segments, current, depth, quoted, previous = [], "", 0, False, ""
    characters = iter(text)
    for character in characters:
        if quoted and character == "\\":
            current += character + next(characters, "")
            continue
        if character == '"' and (quoted or previous in (".", "(", ",")):
            quoted = not quoted
        elif not quoted:
            depth = max(0, depth + (character == "(") - (character == ")"))
            if character == "," and depth == 0:
                segments.append(current)
                current, previous = "", ""
                continue
        current, previous = current + character, character
    return [*segments, current]


def _parse_filter(segment: str) -> Filter:
    if not segment:
        raise BindingError(
            "Error parsing `filter` params: filter must not contain empty segments (check for extra commas)"
        )
    column, equals, rest = segment.partition("=")
    if not equals:
        raise _unparsable([segment])
    negated = rest.startswith("not.")
    parts = rest.removeprefix("not.").split(".", 1)
    if len(parts) != 2 or parts[0] not in OPERATORS:
        raise _unparsable(parts)
    return Filter(column, parts[0], _value(*parts), negated)


def _unparsable(parts: list[str]) -> BindingError:
    return BindingError(f"Error parsing `filter` params: {inspect(parts)}")


def _value(operator: str, value: str) -> str:
    if operator != "in":
        return _unquote(value)
    if len(value) < 2 or value[0] != "(" or value[-1] != ")":
        raise BindingError("Error parsing `filter` params: `in` filter value must be wrapped by parentheses")
    return "{" + value[1:-1] + "}"


def _unquote(value: str) -> str:
    """Without its double quotes, if one pair encloses all of it."""
    if not value.startswith('"'):
        return value
    inner, characters = "", iter(value[1:])
    for character in characters:
        if character == "\\":
            inner += next(characters, "")
        elif character == '"':
            return inner if next(characters, None) is None else value
        else:
            inner += character
    return value

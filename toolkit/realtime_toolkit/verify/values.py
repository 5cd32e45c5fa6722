"""Values that a column takes, as texts to be cast: plain ones by type, and others where a check refuses. Pure."""

from __future__ import annotations

import re
import uuid
from datetime import date, datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_toolkit.verify.tables import Check, Column

NAMESPACE = uuid.UUID("6d1f7a70-51c8-4f4e-9a55-0a1c7e0f5d11")

_FIXED = {
    "boolean": "false",
    "json": "{}",
    "jsonb": "{}",
    "bytea": "\\x00",
    "interval": "1 hour",
    "time without time zone": "12:00:00",
    "time with time zone": "12:00:00+00",
    "point": "(0,0)",
    "line": "{1,1,0}",
    "lseg": "[(0,0),(1,1)]",
    "box": "(1,1),(0,0)",
    "path": "[(0,0),(1,1)]",
    "polygon": "((0,0),(1,0),(1,1))",
    "circle": "<(0,0),1>",
    "tsvector": "probe",
    "tsquery": "probe",
    "jsonpath": "$",
    "xml": "<probe/>",
    "money": "1.00",
    "pg_lsn": "0/1",
    "xid8": "1",
    "oid": "1",
    "regclass": "pg_class",
    '"char"': "p",
    "name": "probe",
    "macaddr": "08:00:2b:01:02:03",
    "macaddr8": "08:00:2b:01:02:03:04:05",
}
_INTEGERS = {"smallint", "integer", "bigint", "numeric", "real", "double precision"}
_TEXTS = {"text", "character varying", "character", "citext"}
_RANGES = {
    "int4range": "[{0},{1})",
    "int8range": "[{0},{1})",
    "numrange": "[{0},{1})",
    "daterange": "[2026-01-{0:02},2026-01-{1:02})",
    "tsrange": "[2026-01-01 {0:02}:00,2026-01-01 {1:02}:00)",
    "tstzrange": "[2026-01-01 {0:02}:00+00,2026-01-01 {1:02}:00+00)",
}


def plain(column: Column, number: int) -> str | None:
    """A value for this column, another for every ``number`` where its type has room; ``None``: unknown type."""
    base = column.base.rsplit(".", 1)[-1]
    if column.kind == "e":
        return column.labels[0] if column.labels else None
    if base.endswith("[]"):
        return "{}"
    if column.kind == "c":
        return f"({',' * ((column.length or 1) - 1)})"
    if base in _INTEGERS:
        return str(number)
    if base in _TEXTS:
        return f"probe {number}" if column.length is None else f"{number}"[-column.length :].rjust(1, "p")
    if base in _RANGES:
        return _RANGES[base].format(number % 20 + 1, number % 20 + 2)
    return _FIXED.get(base) or _moment(base, number) or _sized(column, base, number)


def _moment(base: str, number: int) -> str | None:
    day, second = number // 86400 % 27 + 1, number % 86400
    clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
    match base:
        case "timestamp with time zone":
            return f"2026-01-{day:02} {clock}+00"
        case "timestamp without time zone":
            return f"2026-01-{day:02} {clock}"
        case "date":
            return f"20{number % 90 + 10}-01-01"
    return None


def _sized(column: Column, base: str, number: int) -> str | None:
    match base:
        case "uuid":
            return str(uuid.uuid5(NAMESPACE, f"{column.name} {number}"))
        case "inet" | "cidr":
            return f"10.{number // 65536 % 256}.{number // 256 % 256}.{number % 256}"
        case "bit" | "bit varying":
            return "0" * (column.length or 1)
        case "vector" | "halfvec":
            return "[" + ",".join(["0"] * (column.length or 3)) + "]"
        case "hstore" | "ltree":
            return "probe" if base == "ltree" else ""
        case "geometry" | "geography":
            return "POINT(0 0)"
    return None


def above(bound: str, column: Column, number: int) -> str | None:
    """A value a little above the lower bound of a range; ``None`` where that is not known."""
    try:
        if column.base.startswith("timestamp"):
            return (datetime.fromisoformat(bound) + timedelta(seconds=number)).isoformat(" ")
        if column.base == "date":
            return (date.fromisoformat(bound) + timedelta(days=number % 28)).isoformat()
        if column.base in ("smallint", "integer", "bigint"):
            return str(int(bound) + number % 100)
    except ValueError:
        pass
    return None


# -- what a check may want ------------------------------------------------------------------------------

_TEXT_GUESSES = (
    "probe", "x", "probe@example.com", "https://example.com/probe", "probe-name", "probeprobeprobe0123456789", "PROBE",
    "AA", "AAA", "12345", "+41791234567", "#aabbcc", "en", "en-GB", "192.0.2.1", "a" * 40, "0" * 64,
)  # fmt: skip
_NUMBER_GUESSES = ("1", "0", "2", "5", "10", "50", "100", "1000", "1000000", "-1", "0.5")
_MOMENT_GUESSES = (
    "2026-01-01 00:00:00+00",
    "2026-06-01 00:00:00+00",
    "2030-01-01 00:00:00+00",
    "2000-01-01 00:00:00+00",
)
_LITERAL = re.compile(r"'((?:[^']|'')*)'")
_NUMBER = re.compile(r"(?<![\w'])-?\d+(?:\.\d+)?")
_PATTERN = re.compile(r"(~\*?|~~\*?) '((?:[^']|'')*)'")
_MOST = 60


def guesses(check: Check, columns: tuple[Column, ...]) -> Iterator[dict[str, str]]:
    """Values for the columns of a check that refused: what it mentions first, then usual ones."""
    if len(columns) == 1:
        for value in _for_column(check, columns[0])[:_MOST]:
            yield {columns[0].name: value}
    elif len(columns) >= 2:
        first, second = columns[0], columns[1]
        pairs = [(a, b) for a in _for_column(check, first)[:8] for b in _for_column(check, second)[:8]]
        for a, b in pairs[:_MOST]:
            yield {first.name: a, second.name: b}


def literals(text: str) -> list[str]:
    """The string literals and numbers of a definition, in order, strings unquoted."""
    found = re.findall(r"'((?:[^']|'')*)'|(?<![\w'])(-?\d+(?:\.\d+)?)", text)
    return [string.replace("''", "'") or number for string, number in found]


def _for_column(check: Check, column: Column) -> list[str]:
    base = column.base.rsplit(".", 1)[-1]
    mentioned = [text.replace("''", "'") for text in _LITERAL.findall(check.definition)]
    if base in _TEXTS:
        return _fitting([*_patterned(check.definition), *mentioned, *_TEXT_GUESSES], column)
    if base in _INTEGERS:
        numbers = [float(text) for text in _NUMBER.findall(check.definition)]
        near = [f"{value:g}" for n in numbers for value in (n, n + 1, n - 1)]
        return [*near, *_NUMBER_GUESSES] if base not in ("smallint", "integer", "bigint") else [
            text for text in [*near, *_NUMBER_GUESSES] if "." not in text and "e" not in text
        ]  # fmt: skip
    if base.startswith("timestamp") or base == "date":
        return [*mentioned, *_MOMENT_GUESSES]
    if base == "boolean":
        return ["true", "false"]
    if column.kind == "e":
        return list(column.labels)
    if base.endswith("[]"):
        return ["{}", "{probe}", "{1}", "{a,b}"]
    return mentioned


def _patterned(definition: str) -> Iterator[str | None]:
    """Several texts for every pattern, for the column may have to be unique."""
    for operator, pattern in _PATTERN.findall(definition):
        for variant in range(12):
            if operator.startswith("~~"):
                yield pattern.replace("%", f"probe{variant}").replace("_", "p")
            else:
                yield sample(pattern, variant)


def _fitting(texts: list[str | None], column: Column) -> list[str]:
    limit = column.length
    return [text for text in texts if text is not None and (limit is None or len(text) <= limit)]


def sample(pattern: str, variant: int = 0) -> str | None:
    """A text that a regular expression matches, as far as Python reads it as Postgres does; else ``None``."""
    try:
        tree = import_module("re._parser").parse(pattern.replace("\\m", "\\b").replace("\\M", "\\b"))
        return "".join(_sampled(tree, variant))
    except (re.error, ValueError, KeyError, IndexError):
        return None


def _sampled(tree: Any, variant: int) -> Iterator[str]:
    for operator, argument in tree:
        match str(operator):
            case "LITERAL":
                yield chr(argument)
            case "ANY" | "NOT_LITERAL":
                yield "x" if argument != ord("x") else "y"
            case "IN":
                yield _one_of(argument, variant)
            case "MAX_REPEAT" | "MIN_REPEAT":
                yield "".join(_sampled(argument[2], variant)) * max(argument[0], 1 if argument[1] else 0)
            case "SUBPATTERN":
                yield "".join(_sampled(argument[3], variant))
            case "BRANCH":
                yield "".join(_sampled(argument[1][variant % len(argument[1])], variant))
            case "AT" | "ASSERT" | "ASSERT_NOT":
                pass
            case other:
                raise ValueError(other)


_CATEGORY = {"CATEGORY_WORD": "a", "CATEGORY_SPACE": " ", "CATEGORY_NOT_SPACE": "a"}


def _one_of(options: Any, variant: int) -> str:
    operator, argument = options[0]
    match str(operator):
        case "LITERAL":
            return chr(argument)
        case "RANGE":
            return chr(argument[0] + variant % (argument[1] - argument[0] + 1))
        case "CATEGORY":
            return str(variant % 10) if str(argument) == "CATEGORY_DIGIT" else _CATEGORY[str(argument)]
        case "NEGATE":
            return next(c for c in "x1 -" if all(not _covers(option, c) for option in options[1:]))
    raise ValueError(str(operator))


def _covers(option: Any, char: str) -> bool:
    operator, argument = option
    if str(operator) == "LITERAL":
        return bool(argument == ord(char))
    return str(operator) == "RANGE" and bool(argument[0] <= ord(char) <= argument[1])

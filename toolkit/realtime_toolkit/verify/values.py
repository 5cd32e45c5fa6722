"""Values that a column takes, as texts to be cast: plain ones by type, and others where a check refuses. Pure."""

from __future__ import annotations

import json
import re
import uuid
import warnings
from datetime import datetime, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from realtime_toolkit.verify.tables import Check, Column

NAMESPACE = uuid.UUID("6d1f7a70-51c8-4f4e-9a55-0a1c7e0f5d11")

_FIXED = {
    "boolean": "false",
    "json": "{}",
    "jsonb": "{}",
    "interval": "1 hour",
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
    "regclass": "pg_class",
    '"char"': "p",
}
_INTEGERS = {"smallint", "integer", "bigint", "numeric", "real", "double precision"}
_TEXTS = {"text", "character varying", "character", "citext"}
_RANGES = {"int4range", "int8range", "numrange", "daterange", "tsrange", "tstzrange"}
_START = datetime(2026, 1, 1)


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
        return _range(base, number)
    return _FIXED.get(base) or _moment(base, number) or _sized(column, base, number)


def _range(base: str, number: int) -> str:
    """Ranges of different numbers do not overlap."""
    if base == "daterange":
        first, last = (_START.date() + timedelta(days=2 * number + days) for days in (0, 1))
        return f"[{first},{last})"
    if base.startswith("ts"):
        begin, end = (_START + timedelta(hours=2 * number + hours) for hours in (0, 1))
        zone = "+00" if base == "tstzrange" else ""
        return f'["{begin}{zone}","{end}{zone}")'
    return f"[{2 * number},{2 * number + 1})"


def _moment(base: str, number: int) -> str | None:
    at = _START + timedelta(seconds=number)
    match base:
        case "timestamp with time zone":
            return f"{at}+00"
        case "timestamp without time zone":
            return str(at)
        case "date":
            return str(_START.date() + timedelta(days=number % 36_500))
    return None


def _sized(column: Column, base: str, number: int) -> str | None:
    low = f"{number // 256 % 256:02x}:{number % 256:02x}"
    match base:
        case "macaddr" | "macaddr8":
            return f"08:00:2b:01:{low}" if base == "macaddr" else f"08:00:2b:01:02:03:{low}"
        case "bytea":
            return f"\\x{number:08x}"
        case "money" | "xid8" | "oid" | "name":
            return str(number)
        case "pg_lsn":
            return f"0/{number:X}"
        case "time without time zone" | "time with time zone":
            return str((_START + timedelta(seconds=number)).time())
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


def tenant_value(column: Column, tenant: str, checks: Iterable[Check] = ()) -> str | None:
    """Another one for each of two tenants, ``a`` and ``b``; of a list the first and the second."""
    place = "ab".index(tenant)
    texts = [check.definition for check in checks if check.columns == (column.name,)]
    listed = column.labels if column.kind == "e" else tuple(v for t in texts for v in _listed(t))
    if listed:
        return listed[min(place, len(listed) - 1)]
    if column.base == "uuid":
        return str(uuid.uuid5(NAMESPACE, f"{column.name} {tenant}"))
    if column.base in ("smallint", "integer", "bigint", "numeric"):
        return ("7001", "7002")[place]
    if column.base in _TEXTS:
        return f"tenant-{tenant}" if (column.length or 99) > 8 else tenant
    return plain(column, 7001 + place)


def _listed(definition: str) -> list[str]:
    """Of ``x in ('a', 'b')`` the texts; none of a pattern."""
    return literals(definition) if "~" not in definition and re.search(r"ANY \(|= '", definition) else []


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


_CONSTANT = re.compile(r"(?:'((?:[^']|'')*)'(?:::[\w .\"\[\]]+)?|(-?\d+(?:\.\d+)?|true|false))")


def constant(column: Column) -> list[str | None]:
    """The column's default, where that is a constant."""
    found = _CONSTANT.fullmatch(column.default or "")
    if found is None:
        return []
    return [found[2] if found[1] is None else found[1].replace("''", "'")]


def literals(text: str) -> list[str]:
    """The string literals and numbers of a definition, in order, strings unquoted."""
    found = re.findall(r"'((?:[^']|'')*)'|(?<![\w'])(-?\d+(?:\.\d+)?)", text)
    return [string.replace("''", "'") or number for string, number in found]


def _for_column(check: Check, column: Column) -> list[str]:
    return offered(column, check.definition)


def offered(column: Column, definition: str) -> list[str]:
    """Values of the column's type that an expression may want: what it mentions first, then usual ones."""
    base = column.base.rsplit(".", 1)[-1]
    mentioned = [text.replace("''", "'") for text in _LITERAL.findall(definition)]
    if base in _TEXTS:
        return _fitting([*_patterned(definition), *mentioned, *_TEXT_GUESSES, *_lengths(definition)], column)
    if base in _INTEGERS:
        numbers = [float(text) for text in _NUMBER.findall(definition)]
        near = [f"{value:g}" for n in numbers for value in (n, n + 1, n - 1)]
        return [*near, *_NUMBER_GUESSES] if base not in ("smallint", "integer", "bigint") else [
            text for text in [*near, *_NUMBER_GUESSES] if "." not in text and "e" not in text
        ]  # fmt: skip
    if base.startswith("timestamp") or base == "date":
        return [*(text for text in mentioned if _DATE.match(text)), *_MOMENT_GUESSES]
    if base == "boolean":
        return ["true", "false"]
    if column.kind == "e":
        return [label for label in column.labels if label in mentioned] or list(column.labels)
    if base.endswith("[]"):
        return _arrays(column, mentioned)
    if base in ("json", "jsonb"):
        return list(_documents(definition))
    if base == "interval":
        return ["1 hour", "1 day", "7 days", "1 minute", "30 days"]
    return [] if column.kind in ("c", "r", "m") or base in _CLOSED else mentioned


_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_CLOSED = {"uuid", "inet", "cidr", "bytea", "macaddr", "oid", "pg_lsn", "xid8", *_FIXED}
"""Types whose values are no texts that an expression is likely to mention."""


def _lengths(definition: str) -> Iterator[str]:
    """Texts of the lengths that are mentioned."""
    if "length(" in definition:
        for text in _NUMBER.findall(definition):
            if text.isdigit() and 0 < int(text) <= 10_000:
                yield "p" * int(text)


def _arrays(column: Column, mentioned: list[str]) -> list[str]:
    element = column.base.removesuffix("[]").rsplit(".", 1)[-1]
    if column.labels:
        values = list(column.labels)
    elif element in _INTEGERS:
        values = ["1", "2", "3"]
    elif element == "uuid":
        values = [str(uuid.uuid5(NAMESPACE, f"{column.name} {n}")) for n in range(3)]
    else:
        values = [text for text in mentioned if text.isalnum()] or ["probe", "probes", "probing"]
    some = ["{}", *("{" + ",".join(values[:count]) + "}" for count in range(1, 6) if count <= len(values))]
    return [*some[1:], some[0]]


_KEY = re.compile(r"(?:->>?|\?)\s*'((?:[^']|'')+)'")
_KEYS = re.compile(r"\?[&|]\s*\(?ARRAY\[([^]]*)\]")
_KIND = re.compile(r"jsonb?_typeof\(.*?(?:->\s*'((?:[^']|'')+)'(?:::text)?\)*)?\)+\s*(?:=|<>)\s*'(\w+)'")
_OF_KIND: dict[str, Any] = {
    "string": "probe", "number": 1, "boolean": True, "array": [], "object": {}, "null": None,
}  # fmt: skip


def _documents(definition: str) -> Iterator[str]:
    """JSON documents with the keys that are asked for, each of the kind that is asked for or of any."""
    kinds = {key: kind for key, kind in _KIND.findall(definition) if key}
    keys = [
        *_KEY.findall(definition),
        *(key for found in _KEYS.findall(definition) for key in _LITERAL.findall(found)),
    ]
    compared = dict(
        re.findall(r"->>\s*'(\w+)'(?:::text)?\)*\s*=\s*(?:ANY \(\(*ARRAY\[)?'([^']*)'", definition)
    )
    for whole in dict.fromkeys(kind for key, kind in _KIND.findall(definition) if not key):
        yield json.dumps(_OF_KIND.get(whole))
    usual: Any
    for usual in ("probe", 1, True, [], {}, ["probe"]):
        document = {key: compared.get(key, _OF_KIND.get(kinds.get(key, ""), usual)) for key in keys}
        yield json.dumps(document)
        yield json.dumps([document])
    yield from ("{}", "[]", '["probe"]')


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


_THEIRS = {
    "\\m": "\\b", "\\M": "\\b", "[:alpha:]": "a-zA-Z", "[:alnum:]": "a-zA-Z0-9", "[:digit:]": "0-9", "[:lower:]": "a-z",
    "[:upper:]": "A-Z", "[:space:]": " ", "[:xdigit:]": "0-9a-f", "[:punct:]": "._-",
}  # fmt: skip
"""How Postgres writes what Python writes otherwise."""


def sample(pattern: str, variant: int = 0) -> str | None:
    """A text that a regular expression matches, as far as Python reads it as Postgres does; else ``None``."""
    for theirs, ours in _THEIRS.items():
        pattern = pattern.replace(theirs, ours)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python may read otherwise one day
            tree = import_module("re._parser").parse(pattern)
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

"""A column's text in the WAL as JSON, the way Realtime shows it. Pure.

Realtime casts the text to the column's type without its modifier and takes ``to_jsonb`` of that, hence
its oddities: ``char(5)`` and ``bit(4)`` keep one character, ``bytea`` has no ``\\x``, NaN and infinity
are null. Common types are converted here; for all others (composites, types of extensions)
:func:`converter` answers ``None`` and the caller asks the database for ``to_jsonb(text::type)``.
The texts must come from a session with ISO dates, UTC and hexadecimal bytea.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from realtime_toolkit import phoenix

Converter = Callable[[bytes], bytes]
NULL = b"null"

_NEEDS_ESCAPE = re.compile(rb'["\\\x00-\x1f]').search
_SPECIAL = frozenset({b"NaN", b"Infinity", b"-Infinity"})
_FIRST_USER_OID = 16384
_BPCHAR, _BIT, _BYTEA = 1042, 1560, 17
_VECTORS = frozenset({22, 30})  # int2vector and oidvector are arrays without braces


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A type as the catalogue has it. ``base`` is the type under a domain, else the type itself;
    ``kind`` is ``pg_type.typtype`` of the base; ``element`` the base's element type if it is an array."""

    oid: int
    base: int
    kind: str
    element: ColumnType | None = None

    @property
    def is_domain(self) -> bool:
        return self.oid != self.base


def converter(column: ColumnType) -> Converter | None:
    """Text to JSON for this type, or ``None`` where only the database knows."""
    if column.element is not None and column.base not in _VECTORS:
        element = _element_converter(column.element)
        return None if element is None else lambda text: _array(text, element)
    if not column.is_domain and column.oid in _MODIFIED:
        return _MODIFIED[column.oid]
    return _scalar_converter(column)


def _element_converter(column: ColumnType) -> Converter | None:
    if column.element is not None:
        return None
    if not column.is_domain and column.oid in (_BPCHAR, _BIT):
        return first_character
    return _scalar_converter(column)


def _scalar_converter(column: ColumnType) -> Converter | None:
    if column.base in _VECTORS:
        return None
    if column.base in _BY_OID:
        return _BY_OID[column.base]
    if column.kind in ("e", "r", "m"):
        return string
    return string if column.kind == "b" and column.base < _FIRST_USER_OID else None


def text_of(fragment: bytes) -> str | None:
    """What ``#>> '{}'`` gives for a JSON value: filters are evaluated on it."""
    if fragment == NULL:
        return None
    if fragment[:1] == b'"':
        return str(orjson.loads(fragment))
    return fragment.decode()


# --- scalars --------------------------------------------------------------------------------------


def string(text: bytes) -> bytes:
    if _NEEDS_ESCAPE(text) is None:
        return b'"' + text + b'"'
    return orjson.dumps(text.decode())


def number(text: bytes) -> bytes:
    return text


def numeric(text: bytes) -> bytes:
    return NULL if text in _SPECIAL else text


def floating(text: bytes) -> bytes:
    if text in _SPECIAL:
        return NULL
    if b"e" in text:
        return format(Decimal(text.decode()), "f").encode()
    return b"0" if text == b"-0" else text


def boolean(text: bytes) -> bytes:
    return b"true" if text == b"t" else b"false"


def timestamp(text: bytes) -> bytes:
    return b'"' + text.replace(b" ", b"T", 1).replace(b"+00", b"+00:00") + b'"'


def bytea(text: bytes) -> bytes:
    return b'"' + text.removeprefix(b"\\x") + b'"'


def first_character(text: bytes) -> bytes:
    return string(text.decode()[:1].encode())


def jsonb(text: bytes) -> bytes:
    return text


def canonical_json(text: bytes) -> bytes:
    """``json`` as ``jsonb`` would write it: keys by length, the last of equal ones, numbers in full."""
    value = phoenix.loads(text, parse_float=Decimal)
    return _dump(value).encode()


def _dump(value: Any) -> str:
    if isinstance(value, dict):
        pairs = sorted(value.items(), key=lambda pair: (len(pair[0].encode()), pair[0].encode()))
        return "{" + ", ".join(f"{_dump(key)}: {_dump(item)}" for key, item in pairs) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_dump, value)) + "]"
    if isinstance(value, Decimal):
        return format(value, "f")
    return json.dumps(value, ensure_ascii=False)


_BY_OID: dict[int, Converter] = {
    16: boolean,
    20: number,
    21: number,
    23: number,
    114: canonical_json,
    700: floating,
    701: floating,
    1114: timestamp,
    1184: timestamp,
    1700: numeric,
    3802: jsonb,
}
"""By the oid of the base type; every other built-in type is a string."""
_MODIFIED: dict[int, Converter] = {_BYTEA: bytea, _BPCHAR: first_character, _BIT: first_character}
"""Types that a domain over them, or an array of them, shows differently."""


# --- arrays ---------------------------------------------------------------------------------------


_ARRAY_TOKEN = re.compile(rb'[{},]|"((?:[^"\\]|\\.)*)"|((?:[^{},"\\]|\\.)+)', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


def _array(text: bytes, element: Converter) -> bytes:
    """``{1,2,NULL}`` as a JSON array; lower bounds (``[0:1]={…}``) are not shown."""
    if text[:1] == b"[":
        text = text.partition(b"=")[2]
    parts: list[bytes] = []
    for match in _ARRAY_TOKEN.finditer(text):
        parts.append(_array_part(match, element))
    return b"".join(parts)


def _array_part(match: re.Match[bytes], element: Converter) -> bytes:
    token = match.group()
    if token == b",":
        return b", "
    if token in (b"{", b"}"):
        return b"[" if token == b"{" else b"]"
    quoted, plain = match.group(1), match.group(2)
    if quoted is not None:
        return element(_ESCAPED.sub(rb"\1", quoted))
    return NULL if plain.upper() == b"NULL" else element(_ESCAPED.sub(rb"\1", plain))

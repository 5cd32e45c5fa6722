"""JSON in which every number keeps its digits, and one odd value spoils nothing but itself. No I/O.

:func:`loads` reads any JSON that Postgres writes: fractions as :class:`~decimal.Decimal`, integers of any length (above
the length that Python converts, as ``Decimal`` too), lone surrogates, U+0000. The fast reader is msgspec's; what that
one refuses is read again by the standard library's.

What is nested deeper than :data:`DEPTH` has no safe form in Python (comparing or printing it would end in
``RecursionError``): such a row is :class:`Unreadable`. :func:`shallow` takes a text apart one level at a time, whatever
its depth, so that what stands around such a value can still be read.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import msgspec

DEPTH = 500
"""Levels of arrays and objects that a row may have."""

_MARK = re.compile(rb"[\[\]{},:]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_PART = 256
"""Bytes looked at together: short, so that no nesting makes a part expensive."""
_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")


class Unreadable(ValueError):
    """JSON, but not with a value here; ``str()`` says why, to follow "the value"."""


def loads(text: str | bytes) -> Any:
    """The value. Raises :class:`ValueError` for what is not JSON, :class:`Unreadable` for what is too deep."""
    try:
        return _decoder.decode(text)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return _carefully(text)


def _carefully(text: str | bytes) -> Any:
    if _is_deep(text if isinstance(text, bytes) else text.encode(errors="replace")):
        raise Unreadable(
            f"is nested deeper than {DEPTH} levels"
        )  # how deep json goes differs from Python to Python
    try:
        return json.loads(text, parse_float=Decimal, parse_int=_integer, parse_constant=_no_constant)
    except RecursionError:
        raise Unreadable(f"is nested deeper than {DEPTH} levels") from None


def _integer(digits: str) -> int | Decimal:
    try:
        return int(digits)
    except ValueError:  # longer than sys.get_int_max_str_digits(); jsonb has up to 131,072 digits
        return Decimal(digits)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def dumps(value: Any) -> bytes:
    """Compact JSON, every number with its digits: :func:`loads` gives the same value back."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:  # a lone surrogate, which only an escape can write
        return _written(value).encode()


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(name)}:{_written(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value)


def read_row(text: bytes) -> dict[str, Any]:
    """A row: an object that is not too deep. Raises :class:`Unreadable` for anything else."""
    if len(text) > 2 * DEPTH and _is_deep(text):
        raise Unreadable(f"is nested deeper than {DEPTH} levels")
    try:
        row = loads(text)
    except ValueError as error:
        raise error if isinstance(error, Unreadable) else Unreadable(f"is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise Unreadable("is no object")
    return row


def _is_deep(text: bytes) -> bool:
    if text.count(b"[") + text.count(b"{") <= DEPTH:
        return False
    depth = 0
    for mark in _bare(text).translate(None, _NO_BRACKETS):
        depth += 1 if mark in b"[{" else -1
        if depth > DEPTH:
            return True
    return False


def _bare(text: bytes) -> bytes:
    """The text with what stands in quotes blanked, byte for byte."""
    pieces = text.replace(b"\\\\", b"__").replace(b'\\"', b"__").split(b'"')
    pieces[1::2] = [b"_" * len(piece) for piece in pieces[1::2]]
    return b'"'.join(pieces)


def shallow(text: bytes) -> dict[str, bytes] | list[bytes]:
    """One level of an object or array: the text of each value, unread. Raises :class:`ValueError`.

    >>> shallow(b'{"a": [1, {"b": 2}], "c": "x"}')
    {'a': b'[1, {"b": 2}]', 'c': b'"x"'}
    """
    level, bare = _Level(text), _bare(text)
    for start in range(0, len(bare), _PART):
        level.take(bare[start : start + _PART], start)
    return level.result()


class _Level:
    """Cuts a text at the separators of its first level. What lies below is passed over, a megabyte in milliseconds."""

    def __init__(self, text: bytes) -> None:
        self._text, self._depth, self._start = text, 0, 0
        self._pair = b""
        self._names: list[str] = []
        self._values: list[bytes] = []

    def take(self, part: bytes, start: int) -> None:
        falls, rises = _slope(part)
        if self._depth - falls > 1:
            self._depth += rises - falls
            return
        for found in _MARK.finditer(part):
            self._mark(found[0], start + found.start())

    def _mark(self, mark: bytes, at: int) -> None:
        if mark in b"[{":
            self._depth += 1
            if self._depth == 1:
                self._open(mark, at)
        elif mark in b"]}":
            self._depth -= 1
            if self._depth == 0:
                self._close(mark, at)
        elif self._depth == 1 and mark == b",":
            self._cut(at)
        elif self._depth == 1:
            self._names.append(json.loads(self._text[self._start : at]))
            self._start = at + 1

    def _open(self, mark: bytes, at: int) -> None:
        if self._pair:
            raise ValueError("more than one value")
        self._pair, self._start = mark, at + 1

    def _cut(self, at: int) -> None:
        self._values.append(self._text[self._start : at].strip())
        self._start = at + 1

    def _close(self, mark: bytes, at: int) -> None:
        self._pair += mark
        if self._names or self._values or self._text[self._start : at].strip():
            self._cut(at)
        self._start = at + 1

    def result(self) -> dict[str, bytes] | list[bytes]:
        around = self._text[: self._text.find(self._pair[:1])] + self._text[self._start :]
        if self._depth == 0 and not around.strip() and all(self._values):
            if self._pair == b"[]" and not self._names:
                return self._values
            if self._pair == b"{}" and all(isinstance(name, str) for name in self._names):
                return dict(zip(self._names, self._values, strict=True))
        raise ValueError("not a JSON object or array")


def _slope(part: bytes) -> tuple[int, int]:
    """By how many levels a part of a text falls, at most, and then rises again."""
    left, before = part.translate(None, _NO_BRACKETS), -1
    while len(left) != before:
        before = len(left)
        left = left.replace(b"[]", b"").replace(b"{}", b"")
    return left.count(b"]") + left.count(b"}"), left.count(b"[") + left.count(b"{")

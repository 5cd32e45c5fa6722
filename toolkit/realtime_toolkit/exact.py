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

_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]', re.DOTALL)
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
    for token in _TOKEN.finditer(text.decode(errors="replace")):
        depth += (token[0] in "[{") - (token[0] in "]}")
        if depth > DEPTH:
            return True
    return False


def shallow(text: str) -> dict[str, str] | list[str]:
    """One level of an object or array: the text of each value, unread. Raises :class:`ValueError`.

    >>> shallow('{"a": [1, {"b": 2}], "c": "x"}')
    {'a': '[1, {"b": 2}]', 'c': '"x"'}
    """
    level = _Level(text)
    for token in _TOKEN.finditer(text):
        level.take(token[0], token.start(), token.end())
    return level.result()


class _Level:
    """Cuts a text at the separators of its first level."""

    def __init__(self, text: str) -> None:
        self._text, self._depth, self._start = text, 0, 0
        self._pair = ""
        self._names: list[str] = []
        self._values: list[str] = []

    def take(self, mark: str, start: int, end: int) -> None:
        if len(self._pair) == 2:
            raise ValueError("more than one value")
        if mark in ("]", "}"):
            self._depth -= 1
        if self._depth == 1 and mark == ":":
            self._names.append(json.loads(self._text[self._start : start]))
            self._start = end
        elif self._depth == 1 and mark == ",":
            self._cut(start, end)
        elif self._depth == 0 and mark in ("]", "}"):
            self._close(mark, start, end)
        if mark in ("[", "{"):
            self._depth += 1
            if self._depth == 1:
                self._pair, self._start = mark, end

    def _cut(self, start: int, end: int) -> None:
        self._values.append(self._text[self._start : start].strip())
        self._start = end

    def _close(self, mark: str, start: int, end: int) -> None:
        self._pair += mark
        if self._names or self._values or self._text[self._start : start].strip():
            self._cut(start, end)
        self._start = end

    def result(self) -> dict[str, str] | list[str]:
        around = self._text[: self._text.find(self._pair[:1])] + self._text[self._start :]
        if not around.strip() and all(self._values):
            if self._pair == "[]" and not self._names:
                return self._values
            if self._pair == "{}" and all(isinstance(name, str) for name in self._names):
                return dict(zip(self._names, self._values, strict=True))
        raise ValueError("not a JSON object or array")

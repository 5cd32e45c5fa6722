"""The number by which Realtime names a postgres_changes binding: Erlang's ``phash2`` of the binding.

The same binding has the same id on every channel, client and server, and clients route changes by it.
The function is Bob Jenkins' mix over the term's parts, folded to 27 bits; it was checked against
every id in the recordings.
"""

from __future__ import annotations

import struct
from typing import Any

_GOLDEN = 0x9E3779B9
_MASK = 0xFFFFFFFF
_EMPTY_LIST = 3468870702
_ATOMS = {None: b"nil", True: b"true", False: b"false"}


def phash2(term: Any) -> int:
    """Hash of a JSON value as Erlang holds it (texts as binaries, null as ``nil``), below 2²⁷."""
    return _hash(term, 0) & 0x7FFFFFF


def _times(n: int) -> int:
    return (_GOLDEN * n) & _MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for right1, left, right2 in ((13, 8, 13), (12, 16, 5), (3, 10, 15)):
        a = ((a - b - c) & _MASK) ^ (c >> right1)
        b = ((b - c - a) & _MASK) ^ ((a << left) & _MASK)
        c = ((c - a - b) & _MASK) ^ (b >> right2)
    return a, b, c


def _pair(x: int, y: int, constant: int, previous: int) -> int:
    k = _times(constant)
    return _mix((k + x) & _MASK, (k + y) & _MASK, previous)[2]


def _hash(term: Any, previous: int) -> int:
    match term:
        case None | bool():
            value = _atom(_ATOMS[term])
            return value if previous == 0 else _pair(value, 0, 3, previous)
        case int():
            return _integer(term, previous)
        case float():
            low, high = struct.unpack("<II", struct.pack("<d", term or 0.0))
            return _pair(high, low, 12, previous)
        case str():
            return _binary(term.encode(errors="surrogatepass"), previous)
        case dict():
            return _map(term, previous)
        case list():
            return _list(term, previous)
    raise TypeError(f"not a JSON value: {term!r}")


def _atom(name: bytes) -> int:
    value = 0
    for byte in name:
        value = (value << 4) + byte
        if high := value & 0xF0000000:
            value ^= (high >> 24) ^ high
    return value


def _integer(number: int, previous: int) -> int:
    if -(1 << 27) <= number < (1 << 27):
        if number < 0:
            previous = _pair(-number, 0, 1, previous)
        return _pair(number & _MASK, 0, 1, previous)
    constant, rest = (10 if number < 0 else 11), abs(number)
    while rest:
        previous = _pair(rest & _MASK, (rest >> 32) & _MASK, constant, previous)
        rest >>= 64
    return previous


def _binary(data: bytes, previous: int) -> int:
    a = b = _GOLDEN
    c = (_times(13) + previous) & _MASK
    if not data:
        return c
    whole = len(data) // 12 * 12
    for x, y, z in struct.iter_unpack("<III", data[:whole]):
        a, b, c = _mix((a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK)
    tail = data[whole:].ljust(12, b"\0")
    x, y, z = struct.unpack("<III", tail[:8] + b"\0" + tail[8:11])  # the low byte of c is the length's
    return _mix((a + x) & _MASK, (b + y) & _MASK, (c + z + len(data)) & _MASK)[2]


def _map(term: dict[str, Any], previous: int) -> int:
    previous = _pair(len(term), 0, 16, previous)
    if not term:
        return previous
    pairs = 0
    for key, value in term.items():
        pairs ^= _hash(value, _hash(key, 0))
    return _pair(pairs, 0, 19, previous)


def _list(items: list[Any], previous: int) -> int:
    index = 0
    while index < len(items):  # runs of bytes are hashed four at a time
        run = 0
        packed = 0
        while index < len(items) and _is_byte(items[index]):
            packed, run, index = (packed << 8) + items[index], run + 1, index + 1
            if run == 4:
                previous, packed, run = _pair(packed, 0, 4, previous), 0, 0
        if run:
            previous = _pair(packed, 0, 4, previous)
        if index < len(items):
            previous = _hash(items[index], previous)
            index += 1
    return _EMPTY_LIST if previous == 0 else _pair(2, 0, 2, previous)


def _is_byte(item: Any) -> bool:
    return type(item) is int and 0 <= item <= 255

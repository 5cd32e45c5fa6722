"""WebSocket frames made once and written to many sockets: from a server, unmasked, unfragmented."""

from __future__ import annotations

import struct

_TEXT, _BINARY = 0x81, 0x82


def frame(data: str | bytes) -> bytes:
    """A text frame for ``str``, a binary frame for ``bytes``."""
    if isinstance(data, str):
        return text_frame(data.encode(errors="replace"))
    return _header(_BINARY, len(data)) + data


def text_frame(data: bytes) -> bytes:
    return _header(_TEXT, len(data)) + data


def _header(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 65536:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)

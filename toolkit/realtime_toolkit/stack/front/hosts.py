"""Under which host names the stack answers. Pure.

A page can have its own name point to 127.0.0.1 (DNS rebinding); the browser then takes the stack for that page's own
server and lets it read everything. An address points nowhere else, and the names here cannot be had by anybody: those
of this machine, and those under which containers and virtual machines see it.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_OURS = frozenset(
    {
        "localhost",
        "host.docker.internal",
        "gateway.docker.internal",
        "host.containers.internal",
        "host.lima.internal",
    }
)
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")


def admits(headers: Sequence[str], further: Collection[str] = ()) -> bool:
    """Whether a request with these ``Host`` headers is answered: one, and of this machine or among ``further``."""
    found = _HOST.fullmatch(headers[0]) if len(headers) == 1 else None
    if found is None:
        return False
    name = found[1].lower().removesuffix(".")
    return name in _OURS or name.endswith(".localhost") or _is_address(name) or name in further


def _is_address(name: str) -> bool:
    bare = name[1:-1] if name.startswith("[") else name
    try:
        return isinstance(ipaddress.ip_address(bare), ipaddress.IPv6Address) == name.startswith("[")
    except ValueError:
        return False

"""What can be stored at all, said before anything is sent: so that no refusal of the database is the caller's."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any
from uuid import UUID

from realtime_toolkit.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

_IDS = frozenset({"id", "task", "message", "task_id", "message_id", "conversation_id", "user_id"})
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_WORKER_BYTES = 200


def check(what: str, arguments: Mapping[str, Any]) -> None:
    """Raises :class:`InputError` that names the argument and what is wrong with it."""
    for name, value in arguments.items():
        if value is not None and (wrong := _wrong(name, value)):
            raise InputError(f"{what}: {name} {wrong}")


def _wrong(name: str, value: Any) -> str | None:
    if name in _IDS and not _is_uuid(value):
        return f"is no UUID: {str(value)[:50]!r}"
    if isinstance(value, str):
        return _wrong_text(name, value)
    if isinstance(value, bool | UUID):
        return None
    if isinstance(value, list):
        return next((wrong for each in value if (wrong := _wrong(name, each))), None)
    if isinstance(value, int | float):
        return _wrong_number(name, value)
    return f"is {type(value).__name__}, which cannot be stored"


def _is_uuid(value: Any) -> bool:
    try:
        return isinstance(value, UUID) or bool(UUID(value))
    except (ValueError, AttributeError, TypeError):
        return False


def _wrong_text(name: str, value: str) -> str | None:
    if _UNSTORABLE.search(value):
        return "has a character that Postgres cannot store (U+0000, or half of a surrogate pair)"
    if name == "worker" and not 0 < len(value.encode()) <= _WORKER_BYTES:
        return f"is a name of 1 to {_WORKER_BYTES} bytes, not of {len(value.encode())}"
    return None


def _wrong_number(name: str, value: float) -> str | None:
    if name == "progress":
        return None if 0 <= value <= 1 else f"is between 0 and 1, not {value}"
    if not isinstance(value, int):
        return f"is a whole number, not {value}" if math.isfinite(value) else f"is {value}"
    if not -(2**31) <= value < 2**31:
        return f"is out of range: {str(value)[:50] if abs(value) < 10**100 else 'very large'}"
    if name == "lease_seconds" and value < 1:
        return f"is at least 1, not {value}"
    return None

"""What went wrong, in the words of :mod:`realtime_toolkit.errors`: one table for both ways to the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realtime_toolkit.errors import (
    ContentMismatch,
    IllegalTransition,
    InputError,
    NotFound,
    SchemaError,
    StaleAttempt,
    StoreError,
    StoreUnavailable,
    ToolkitError,
    Unauthorized,
)
from realtime_toolkit.scrub import scrub

if TYPE_CHECKING:
    from collections.abc import Iterable

_BY_CODE: dict[str, type[ToolkitError]] = {
    "RT001": StaleAttempt,
    "RT002": IllegalTransition,
    "RT003": ContentMismatch,
    "RT004": NotFound,
    "42501": Unauthorized,
    "23502": InputError,  # a value is missing
    "23503": NotFound,  # a foreign key: the parent is not there
    "23514": InputError,  # longer than its limit
    "55P03": StoreUnavailable,
    "55006": StoreUnavailable,  # in use
    "25006": StoreUnavailable,  # read only: in the middle of a failover
}
_BY_CLASS: dict[str, type[ToolkitError]] = {
    "08": StoreUnavailable,
    "28": Unauthorized,
    "40": StoreUnavailable,
    "42": SchemaError,
    "53": StoreUnavailable,
    "57": StoreUnavailable,
    "58": StoreUnavailable,
    "XX": StoreUnavailable,  # also what poolers say of themselves
}
_NOT_MIGRATED = {"42883", "42P01", "42703", "3F000", "PGRST106", "PGRST202", "PGRST204", "PGRST205"}
_PREPARED = {"26000", "42P05", "08P01"}


def error_for(code: str | None, what: str, detail: str, sent: Iterable[Any] = ()) -> ToolkitError:
    """The error of a SQLSTATE (or PostgREST's own code), as one line.

    ``sent`` are the arguments of the call. Ours are checked before they are sent (:mod:`.arguments`), so what a
    cast or a function refuses (class 22) is the caller's only where the database quotes it; else a policy or a
    trigger has failed.
    """
    line = f"{what}: {one_line(detail)}"
    if code in _NOT_MIGRATED:
        return SchemaError(f"{line} (are the migrations applied? realtime-toolkit migrate status)")
    if code in _PREPARED and "prepared statement" in detail:
        return StoreError(f"{line} (a transaction pooler? PostgresStore(..., prepare_threshold=None))")
    if code == "0A000" and "cached plan" in detail:
        return StoreUnavailable(line)
    if code is not None and code.startswith("22"):
        return InputError(line) if _quotes(detail, sent) else SchemaError(line)
    kind = _BY_CODE.get(code or "") or _BY_CLASS.get((code or "")[:2]) or StoreError
    return kind(line)


def _quotes(detail: str, sent: Iterable[Any]) -> bool:
    return any(f'"{value}"' in detail or f"'{value}'" in detail for value in sent if value is not None)


def one_line(text: str) -> str:
    return scrub(" ".join(text[:2000].split())[:300])

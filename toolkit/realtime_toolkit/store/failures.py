"""What went wrong, in the words of :mod:`realtime_toolkit.errors`: one table for both ways to the database."""

from __future__ import annotations

from realtime_toolkit.errors import (
    ContentMismatch,
    IllegalTransition,
    InputError,
    NotFound,
    StaleAttempt,
    StoreError,
    StoreUnavailable,
    ToolkitError,
    Unauthorized,
)

_BY_CODE: dict[str, type[ToolkitError]] = {
    "RT001": StaleAttempt,
    "RT002": IllegalTransition,
    "RT003": ContentMismatch,
    "RT004": NotFound,
    "42501": Unauthorized,
    "23503": NotFound,  # a foreign key: the parent is not there
    "55P03": StoreUnavailable,
    "25006": StoreUnavailable,  # read only: in the middle of a failover
}
_BY_CLASS: dict[str, type[ToolkitError]] = {
    "08": StoreUnavailable,
    "22": InputError,
    "28": Unauthorized,
    "40": StoreUnavailable,
    "53": StoreUnavailable,
    "57": StoreUnavailable,
}
_NOT_MIGRATED = {"42883", "42P01", "42703", "3F000", "PGRST202", "PGRST204", "PGRST205"}


def error_for(code: str | None, what: str, detail: str) -> ToolkitError:
    """The error of a SQLSTATE (or PostgREST's own code), as one line."""
    line = f"{what}: {one_line(detail)}"
    if code in _NOT_MIGRATED:
        return StoreError(f"{line} (are the migrations applied? realtime-toolkit migrate status)")
    kind = _BY_CODE.get(code or "") or _BY_CLASS.get((code or "")[:2]) or StoreError
    return kind(line)


def one_line(text: str) -> str:
    return " ".join(text.split())[:300]

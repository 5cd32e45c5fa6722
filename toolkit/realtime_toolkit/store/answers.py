"""What an HTTP answer that is no success means: from PostgREST, or from a gateway before it."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from realtime_toolkit.errors import ConfigError, StoreError, StoreUnavailable, ToolkitError, Unauthorized
from realtime_toolkit.store.failures import error_for, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    import httpx

_BUSY = {408, 425, 429}
_UNREADY = {"", "PGRST000", "PGRST001", "PGRST002", "PGRST003"}
"""No database, no schema cache, no free connection; and an empty code is PostgREST's for a backend that has died."""
_PASSING_TOKEN = re.compile("issued ?at ?future|not ?yet ?valid", re.I)
"""The clocks of two servers differ for a moment, with opaque keys, too (supabase/supabase#49655)."""
_KEY = re.compile("api ?key", re.I)
_LONGEST_WAIT = 60.0


@dataclass(frozen=True, slots=True)
class Plain:
    """An answer, as far as it matters here."""

    status: int
    reason: str
    body: bytes
    retry_after: str | None = None
    location: str = ""


def plain(answer: httpx.Response) -> Plain:
    headers = answer.headers
    where = headers.get("location", "")
    return Plain(answer.status_code, answer.reason_phrase, answer.content, headers.get("retry-after"), where)


def answer_error(
    what: str, answer: Plain, *, renewable: bool = False, sent: Iterable[Any] = ()
) -> ToolkitError:
    """PostgREST answers with a JSON object whose ``code`` is the SQLSTATE or its own; a gateway need not.

    ``renewable``: a refused token may be replaced by another one.
    """
    told = _told(answer)
    code, detail = _explanation(told, answer)
    line = f"{what}: {one_line(detail)}"
    if 300 <= answer.status < 400:
        return _redirect(line, answer)
    if code and not code.startswith("PGRST"):
        return _database(error_for(code, what, detail, sent), answer, renewable)
    if answer.status == 401 or (answer.status == 403 and told is not None):
        return Unauthorized(line, retryable=_token_passes(detail, renewable))
    if code in _UNREADY or answer.status >= 500 or answer.status in _BUSY or answer.status == 403:
        return StoreUnavailable(line, retry_after=_retry_after(answer.retry_after))
    return error_for(code, what, detail, sent)


def _database(error: ToolkitError, answer: Plain, renewable: bool) -> ToolkitError:
    if isinstance(error, Unauthorized) and answer.status == 401 and renewable:
        return Unauthorized(
            str(error), retryable=True
        )  # we came as anon: the callable may have a token next time
    if type(error) is StoreError and (answer.status >= 500 or answer.status in _BUSY):
        return StoreUnavailable(str(error), retry_after=_retry_after(answer.retry_after))
    return error


def _token_passes(detail: str, renewable: bool) -> bool:
    return bool(_PASSING_TOKEN.search(detail)) or (renewable and not _KEY.search(detail))


def _redirect(line: str, answer: Plain) -> ToolkitError:
    """A call is never repeated elsewhere; one that is sent elsewhere for good has the wrong address."""
    if answer.status in (301, 308):
        target = re.match(r"(https?://)(?:[^/?#]*@)?([^/?#@]+)", answer.location)
        return ConfigError(
            f"{line}: the address is another one{f', {target[1]}{target[2]}' if target else ''}"
        )
    return StoreUnavailable(line)


def _told(answer: Plain) -> dict[str, Any] | None:
    try:
        body = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _explanation(told: dict[str, Any] | None, answer: Plain) -> tuple[str | None, str]:
    """The code, and a reason that is never a gateway's page."""
    status = f"HTTP {answer.status} {answer.reason}".strip()
    if told is None:
        return None, status
    code = told.get("code")
    message = told.get("message") or told.get("error_description") or told.get("error") or told.get("msg")
    shown = (
        isinstance(message, str)
        and message.strip()
        and not re.search(r"<\s*(!doctype|html|body)", message, re.I)
    )
    return (code if isinstance(code, str) else None), (str(message) if shown else status)


def _retry_after(header: str | None) -> float | None:
    """Seconds, of a number or a date; at most a minute."""
    if header is None:
        return None
    try:
        wait = (
            float(header)
            if header.strip().isdecimal()
            else parsedate_to_datetime(header).timestamp() - time.time()
        )
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(wait, 0.0), _LONGEST_WAIT)

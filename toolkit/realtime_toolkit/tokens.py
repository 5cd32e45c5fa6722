"""Access tokens, from wherever the caller has them, and what they say. Nothing here verifies a signature."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from realtime_toolkit.errors import ConfigError, ToolkitError, Unreachable
from realtime_toolkit.scrub import scrub
from realtime_toolkit.tasks import NotOursError, theirs

log = logging.getLogger(__name__)

Token = str | Callable[[], str | Awaitable[str | None] | None] | None
"""A JWT, a callable (sync or async) that gives one, or nothing: then the project's key says who calls."""

_SENDABLE = re.compile(r"[\x21-\x7e]+")  # what a header takes: an opaque key is no JWT, but that it is, too
_SOONEST = 30.0
"""Seconds between two questions for a token whose life cannot be told from a clock that is wrong."""


class TokenSource:
    """The current token, asked for anew each time; at most ``within`` seconds.

    Raises :class:`ConfigError` at once for what is neither text nor callable.
    """

    def __init__(self, given: Token, *, within: float = 10.0) -> None:
        if isinstance(given, str):
            _checked(given, ConfigError)
        elif given is not None and not callable(given):
            raise ConfigError(
                f"a token is a JWT, a callable that gives one, or None, not {type(given).__name__}"
            )
        self._given = given
        self._within = within

    @property
    def renewable(self) -> bool:
        """Whether asking again may give another one."""
        return callable(self._given)

    async def current(self) -> str | None:
        """Raises :class:`Unreachable`, which is retryable, whatever is wrong with what the callable does or gives."""
        if self._given is None or isinstance(self._given, str):
            return self._given
        try:
            token: str | None = await theirs(
                cast("Callable[[], Any]", self._given), "the token callback", within=self._within
            )
        except ToolkitError as error:
            if error.retryable:
                raise
            raise Unreachable(f"no token to be had: {error}") from error
        except (NotOursError, TimeoutError) as error:
            raise Unreachable(f"no token to be had: {error}") from error
        except Exception as error:
            # What it says may hold a key, and this error may be shown to a user: the log has it, scrubbed.
            log.warning("the token callback raised %s", scrub(repr(error)))
            raise Unreachable(f"no token to be had: the callback raised {type(error).__name__}") from error
        if token is not None:
            _checked(token, Unreachable)
        return token


def _checked(token: Any, error: type[ToolkitError]) -> None:
    """Says what is wrong without a character of it: half a token is a secret, too."""
    if not isinstance(token, str):
        raise error(f"a token is text, and this is of type {type(token).__name__}")
    if not _SENDABLE.fullmatch(token):
        raise error("this is no token: it is empty, or has characters that no header takes")


def claims(token: str | None) -> Mapping[str, Any]:
    """The claims of a JWT, unverified; empty for anything else."""
    with contextlib.suppress(ValueError, IndexError, AttributeError, RecursionError):
        body = (token or "").split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return found if isinstance(found, dict) else {}
    return {}


def renew_after(token: str | None, now: float, early: float) -> float | None:
    """Seconds until a token that has just been given should be replaced, ``early`` before its end or, of a short life,
    a fifth of it; ``None`` if it has no end.

    One that is new and yet over by our clock says that the clock is wrong (a machine that slept, a phone set by hand),
    or that the caller's is: then its life is counted from now.
    """
    said = claims(token)
    expiry, issued = _seconds(said.get("exp")), _seconds(said.get("iat"))
    if expiry is None:
        return None
    left = expiry - now
    if left <= 0:
        life = expiry - issued if issued is not None else 0.0
        return max(life - min(early, life / 5), _SOONEST)
    return max(left - min(early, left / 5), 1.0)


def _seconds(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e12 else None

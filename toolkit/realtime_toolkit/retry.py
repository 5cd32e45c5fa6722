"""Doing it again: how long to pause, and for how long to go on."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

from realtime_toolkit.errors import (
    ConfigError,
    IllegalTransition,
    InputError,
    SchemaError,
    StaleAttempt,
    ToolkitError,
    Unauthorized,
)
from realtime_toolkit.scrub import scrub
from realtime_toolkit.tasks import theirs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from typing import TypeVar

    T = TypeVar("T")

log = logging.getLogger(__name__)


def backoff(
    base: float = 0.1, cap: float = 5.0, rand: Callable[[], float] = random.random
) -> Iterator[float]:
    """Seconds to pause before each repetition, without end: full jitter below a doubling bound."""
    bound = base
    while True:
        yield rand() * bound
        bound = min(cap, bound * 2)


async def persist(
    call: Callable[[], Awaitable[T]],
    *,
    patience: float,
    worked: bool = False,
    pause: Callable[[float], Awaitable[Any]] = asyncio.sleep,
) -> T:
    """Repeat an idempotent call while it fails with a retryable error, for ``patience`` seconds.

    ``worked``: its like have worked before, so that a schema that fails is one that is being migrated. Raises
    :class:`~realtime_toolkit.tasks.NotOursError` where the call was cancelled, and not by us.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + patience
    for tries, delay in enumerate(backoff()):
        try:
            return await theirs(call, "a write")
        except ToolkitError as error:
            delay = max(delay, error.retry_after or 0.0)
            passes = error.retryable or (worked and isinstance(error, SchemaError))
            if not passes or clock() + delay >= deadline:
                raise
            log.log(
                logging.DEBUG if tries else logging.WARNING, "%s; trying again", error
            )  # one line an outage
        await pause(delay)
    raise AssertionError("backoff() has no end")


def is_final(error: Exception) -> bool:
    """Whether a loop that runs for ever must end with it: the caller's own mistake, or not ours to do any more."""
    if isinstance(error, Unauthorized):
        return not error.retryable
    return isinstance(error, ConfigError | InputError | StaleAttempt | IllegalTransition)


class Outage:
    """Says once that something fails, and once that it works again, however often it is tried."""

    def __init__(self, what: str, *, base: float = 0.5, cap: float = 30.0) -> None:
        self._what = what
        self._limits = base, cap
        self._pauses: Iterator[float] | None = None

    def pause(self, error: Exception) -> float:
        """Seconds to wait before the next try."""
        level = logging.DEBUG if self._pauses else logging.WARNING
        log.log(level, "%s fails, and is tried until it works: %s", self._what, scrub(in_short(error)))
        self._pauses = self._pauses or backoff(*self._limits)
        asked = error.retry_after if isinstance(error, ToolkitError) else None
        return max(next(self._pauses), asked or 0.0)

    def over(self) -> None:
        if self._pauses is not None:
            log.warning("%s works again", self._what)
        self._pauses = None


def in_short(error: BaseException) -> str:
    """One line: an error of ours says all by itself."""
    return (
        str(error)
        if isinstance(error, ToolkitError)
        else " ".join(f"{type(error).__name__}: {error}".split())
    )

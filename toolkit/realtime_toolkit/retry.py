"""Doing it again: how long to pause, and for how long to go on."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

from realtime_toolkit.errors import ToolkitError

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
    pause: Callable[[float], Awaitable[Any]] = asyncio.sleep,
) -> T:
    """Repeat an idempotent call while it fails with a retryable error, for ``patience`` seconds."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + patience
    for tries, delay in enumerate(backoff()):
        try:
            return await call()
        except ToolkitError as error:
            if not error.retryable or clock() + delay >= deadline:
                raise
            level = logging.INFO if tries else logging.WARNING  # one line an outage
            log.log(level, "%s; trying again", error)
        await pause(delay)
    raise AssertionError("backoff() has no end")

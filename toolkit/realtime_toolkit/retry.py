"""Doing it again: how long to pause, and for how long to go on."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

from realtime_toolkit.errors import SchemaError, ToolkitError
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

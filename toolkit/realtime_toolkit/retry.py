"""Doing it again: how long to pause, and for how long to go on."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING, Any

from realtime_toolkit.errors import ToolkitError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator
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


async def to_its_end(work: Coroutine[Any, Any, T], *, grace: float, hurry: bool = False) -> tuple[T, bool]:
    """Do the work in a task of its own, to its end, even if the caller is cancelled meanwhile.

    Returns its result, and whether there was a cancellation, which the caller must heed now. From then
    on (with ``hurry``: from the start) the work has ``grace`` seconds, after which it is cancelled and
    :class:`TimeoutError` raised. Work that fails after a cancellation raises that instead.
    """
    task = asyncio.create_task(work)
    timer: asyncio.TimerHandle | None = None
    cancelled = False
    while not task.done():
        if (hurry or cancelled) and timer is None:
            timer = asyncio.get_running_loop().call_later(grace, task.cancel)
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if timer is not None:
        timer.cancel()
    error = TimeoutError(f"it took longer than {grace:g} s") if task.cancelled() else task.exception()
    if error is None:
        return task.result(), cancelled
    if cancelled:
        log.error("%s", error)
        raise asyncio.CancelledError
    raise error


async def see_through(work: Coroutine[Any, Any, T], *, grace: float, hurry: bool = False) -> T:
    """As :func:`to_its_end`, and raise the cancellation then."""
    result, cancelled = await to_its_end(work, grace=grace, hurry=hurry)
    if cancelled:
        raise asyncio.CancelledError
    return result

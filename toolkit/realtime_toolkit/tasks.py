"""Whose cancellation is it? Tasks whose end is never silent, limits of time, and code that is not ours.

A ``CancelledError`` out of somebody else's code (a user's callback, a library's shared request) while nobody
cancels *us* is that code's failure: :func:`theirs` tells the two apart. One that is ours is raised again as the very
object it was, because anyio (Starlette, FastAPI) knows its own by their text.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Coroutine, Iterable
    from types import TracebackType

T = TypeVar("T")

log = logging.getLogger(__name__)


class NotOursError(Exception):
    """Somebody else's code was cancelled by somebody else, or gave what cannot be awaited."""


class Deadline:
    """``async with Deadline(seconds)``: :class:`TimeoutError` when they are over; ``None`` is no limit.

    What :func:`asyncio.timeout` is since Python 3.11.4. Before, it took its own cancellation for another's in every
    task in which a task group had failed (``cancelling()`` stayed at 1), and raised ``CancelledError``.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._over = False

    async def __aenter__(self) -> Self:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._before = task, task.cancelling()
        if self._seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, self._seconds), self._end)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._over and self._task.uncancel() <= self._before and isinstance(error, asyncio.CancelledError):
            raise TimeoutError from error

    def _end(self) -> None:
        self._over = True
        self._task.cancel()


def _cancelling() -> int:
    task = asyncio.current_task()
    return task.cancelling() if task is not None else 0


@overload
async def theirs(call: Callable[[], Awaitable[T]], what: str, *, within: float | None = None) -> T: ...
@overload
async def theirs(call: Callable[[], T], what: str, *, within: float | None = None) -> T: ...
async def theirs(call: Callable[[], Any], what: str, *, within: float | None = None) -> Any:
    """What somebody else's callable gives, sync or async.

    Raises :class:`NotOursError` where it raises ``CancelledError`` though nobody cancels us, and
    :class:`TimeoutError` where it takes longer than ``within`` seconds, even if it will not be cancelled. Everything
    else that it raises comes through.
    """
    before = _cancelling()
    try:
        given = call()
        if not inspect.isawaitable(given):
            return given
        return await (given if within is None else _bounded(given, what, within))
    except asyncio.CancelledError as error:
        if _cancelling() > before:
            raise
        raise NotOursError(f"{what} was cancelled, and not by us") from error


async def _bounded(given: Awaitable[T], what: str, seconds: float) -> T:
    async def wait() -> T:
        return await given

    task = asyncio.create_task(wait(), name=what)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_seen)
    if not task.done():
        raise TimeoutError(f"{what} took longer than {seconds:g} s")
    return task.result()


def _seen(task: asyncio.Task[Any]) -> None:
    """Nobody waits for it any more."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.debug("%s ended late: %r", task.get_name(), error)


async def each(items: AsyncIterable[T], what: str) -> AsyncIterator[T]:
    """The items of somebody else's iterator; errors as :func:`theirs`."""
    iterator = aiter(items)
    while True:
        try:
            item: T = await theirs(iterator.__anext__, what)
        except StopAsyncIteration:
            return
        yield item


def spawn(
    work: Coroutine[Any, Any, T], name: str, ended: Callable[[BaseException | None], object]
) -> asyncio.Task[T]:
    """Start a task. ``ended`` is told, once, how it ended: ``None``, its error, or the ``CancelledError``.

    The one place in which tasks are made that outlive the call that makes them: none ends without its owner knowing.
    """

    def tell(task: asyncio.Task[T]) -> None:
        ended(asyncio.CancelledError() if task.cancelled() else task.exception())

    task = asyncio.get_running_loop().create_task(work, name=name)
    task.add_done_callback(tell)
    return task


async def race(works: Iterable[Coroutine[Any, Any, Any]]) -> None:
    """Run all until the first ends, then cancel the others and see them end; raises what the first one raised.

    Without a task group: before Python 3.11.4 that leaves the task it ran in half cancelled.
    """
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        first = [task for task in tasks if task.done()]
    finally:
        await end(tasks)
    for task in first:
        if task.cancelled():
            raise NotOursError(f"{task.get_name()} was cancelled, and not by us")
        task.result()


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel the tasks and see them end, even if we are cancelled meanwhile; then that is raised."""
    left = {task for task in tasks if not task.done()}
    for task in left:
        task.cancel()
    cancelled = await _see_end(left)
    if cancelled is not None:
        raise cancelled


async def _see_end(
    tasks: set[asyncio.Task[Any]], on_cancel: Callable[[], object] = lambda: None
) -> asyncio.CancelledError | None:
    """Wait for all of them; returns the first cancellation of ours meanwhile, of which ``on_cancel`` is told."""
    cancelled: asyncio.CancelledError | None = None
    while left := {task for task in tasks if not task.done()}:
        # A scope of anyio's cancels us again in every turn of the loop: once told, we do not hear it.
        shield = anyio.CancelScope(shield=True) if cancelled else contextlib.nullcontext()
        try:
            with shield:
                await asyncio.wait(left)
        except asyncio.CancelledError as error:
            if cancelled is None:
                cancelled = error
                on_cancel()
    return cancelled


async def to_its_end(
    work: Coroutine[Any, Any, T], *, grace: float, hurry: bool = False
) -> tuple[T, asyncio.CancelledError | None]:
    """Do the work in a task of its own, to its end, even if the caller is cancelled meanwhile.

    Returns its result, and the cancellation, if there was one, which the caller must raise in the end. From then on
    (with ``hurry``: from the start) the work has ``grace`` seconds, after which it is cancelled and
    :class:`TimeoutError` raised. Work that fails after a cancellation raises that instead.
    """
    task = asyncio.create_task(work)
    timers: list[asyncio.TimerHandle] = []

    def limit() -> None:
        if not timers:
            timers.append(asyncio.get_running_loop().call_later(grace, task.cancel))

    if hurry:
        limit()
    cancelled = await _see_end({task}, limit)
    late = bool(timers) and timers[0].when() <= asyncio.get_running_loop().time()
    for timer in timers:
        timer.cancel()
    if not task.cancelled() and task.exception() is None:
        return task.result(), cancelled
    error = task.exception() if not task.cancelled() else _why_cancelled(late, grace)
    assert error is not None
    if cancelled is not None:
        log.error("%s", error)
        raise cancelled
    raise error


def _why_cancelled(late: bool, grace: float) -> Exception:
    if late:
        return TimeoutError(f"it took longer than {grace:g} s")
    return NotOursError("it was cancelled, and not by us")


async def see_through(work: Coroutine[Any, Any, T], *, grace: float, hurry: bool = False) -> T:
    """As :func:`to_its_end`, and raise the cancellation then."""
    result, cancelled = await to_its_end(work, grace=grace, hurry=hurry)
    if cancelled is not None:
        raise cancelled
    return result


async def happens(event: asyncio.Event, within: float | None) -> bool:
    """Wait for the event, for so many seconds at most; whether it has come."""
    try:
        async with Deadline(within):
            await event.wait()
    except TimeoutError:
        return event.is_set()
    return True

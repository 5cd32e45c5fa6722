"""Whose cancellation it is, on every Python: the primitives that all awaiting goes through."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from realtime_toolkit.tasks import (
    Deadline,
    NotOursError,
    each,
    end,
    happens,
    race,
    see_through,
    spawn,
    theirs,
    to_its_end,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FOREVER = 3600


async def cancelled_by_another() -> str:
    """What a library's time-out or a shared request does to whoever waits for it."""
    inner = asyncio.create_task(asyncio.sleep(FOREVER))
    asyncio.get_running_loop().call_soon(inner.cancel)
    await inner
    return "never"


async def half_cancelled() -> None:
    """The state in which a task group that failed leaves its task before Python 3.11.4."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)
    assert task.cancelling() == 1


# --- Deadline ---


async def test_a_deadline_ends_what_takes_too_long() -> None:
    with pytest.raises(TimeoutError):
        async with Deadline(0.01):
            await asyncio.sleep(FOREVER)
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_a_deadline_works_in_a_task_that_a_task_group_left_half_cancelled() -> None:
    async def job() -> str:
        await half_cancelled()
        try:
            async with Deadline(0.01):
                await asyncio.sleep(FOREVER)
        except TimeoutError:
            return "in time"
        return "too late"

    assert await asyncio.create_task(job()) == "in time"


async def test_a_cancellation_goes_through_a_deadline() -> None:
    async def job() -> None:
        async with Deadline(FOREVER):
            await asyncio.sleep(FOREVER)

    task = asyncio.create_task(job())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_that_comes_with_the_end_of_the_time_wins() -> None:
    async def job() -> None:
        async with Deadline(0):
            await asyncio.sleep(FOREVER)

    task = asyncio.create_task(job())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_no_limit_is_none() -> None:
    async with Deadline(None):
        await asyncio.sleep(0)


async def test_an_event_that_happens_and_one_that_does_not() -> None:
    event = asyncio.Event()
    assert not await happens(event, 0.01)
    event.set()
    assert await happens(event, 0.01)


# --- theirs ---


@pytest.mark.parametrize("within", [None, 5.0])
async def test_a_foreign_cancellation_is_a_failure(within: float | None) -> None:
    with pytest.raises(NotOursError, match="the callback was cancelled"):
        await theirs(cancelled_by_another, "the callback", within=within)


@pytest.mark.parametrize("within", [None, 5.0])
async def test_a_foreign_cancellation_is_told_from_ours_in_a_half_cancelled_task(
    within: float | None,
) -> None:
    async def job() -> None:
        await half_cancelled()
        await theirs(cancelled_by_another, "the callback", within=within)

    with pytest.raises(NotOursError):
        await asyncio.create_task(job())


@pytest.mark.parametrize("within", [None, 5.0])
async def test_our_own_cancellation_stays_one(within: float | None) -> None:
    task = asyncio.create_task(theirs(lambda: asyncio.sleep(FOREVER), "the callback", within=within))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_synchronous_cancelled_error_is_a_failure_too() -> None:
    def call() -> str:
        raise asyncio.CancelledError

    with pytest.raises(NotOursError):
        await theirs(call, "the callback")


async def test_what_hangs_is_left_even_if_it_will_not_be_cancelled() -> None:
    leave = asyncio.Event()

    async def stubborn() -> str:
        while not leave.is_set():
            try:
                await leave.wait()
            except asyncio.CancelledError:
                continue
        return "late"

    with pytest.raises(TimeoutError, match="the callback took longer"):
        await theirs(stubborn, "the callback", within=0.01)
    leave.set()
    await asyncio.sleep(0)


async def test_what_they_give_and_what_they_raise_comes_through() -> None:
    async def later() -> int:
        return 2

    def bad() -> int:
        raise ZeroDivisionError

    assert await theirs(lambda: 1, "sync") == 1
    assert await theirs(later, "async", within=1) == 2
    with pytest.raises(ZeroDivisionError):
        await theirs(bad, "bad")


async def test_a_foreign_cancellation_inside_an_iterator() -> None:
    async def items() -> AsyncIterator[str]:
        yield "a"
        yield await cancelled_by_another()

    given = each(items(), "the source")
    assert await anext(given) == "a"
    with pytest.raises(NotOursError):
        await anext(given)


# --- tasks ---


@pytest.mark.parametrize(
    ("work", "told"),
    [(lambda: asyncio.sleep(0), type(None)), (cancelled_by_another, asyncio.CancelledError)],
)
async def test_the_owner_is_told_how_a_task_ended(work: Any, told: type) -> None:
    ends: list[BaseException | None] = []
    task = spawn(work(), "job", ends.append)
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert [type(each) for each in ends] == [told]


async def test_a_race_ends_all_when_the_first_ends() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(FOREVER)
        finally:
            ended.append("waits")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("first")

    with pytest.raises(ValueError, match="first"):
        await race([waits(), fails()])
    assert ended == ["waits"]
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_a_race_whose_member_is_cancelled_by_another_fails() -> None:
    with pytest.raises(NotOursError):
        await race([asyncio.sleep(FOREVER), cancelled_by_another()])


async def test_a_cancelled_race_leaves_nobody_running() -> None:
    ended = asyncio.Event()

    async def waits() -> None:
        try:
            await asyncio.sleep(FOREVER)
        finally:
            ended.set()

    task = asyncio.create_task(race([waits()]))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


# --- to the end, in spite of a cancellation ---


async def test_the_cancellation_that_is_raised_in_the_end_is_the_one_that_came() -> None:
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.02)
        done.set()

    task = asyncio.create_task(see_through(work(), grace=5))
    await asyncio.sleep(0)
    task.cancel("the reason")
    with pytest.raises(asyncio.CancelledError, match="the reason"):
        await task
    assert done.is_set()


async def test_anyio_takes_its_own_cancellation_back() -> None:
    """A bare CancelledError would go through every scope, and end Starlette's request handler."""
    with anyio.move_on_after(0.01) as scope:
        await see_through(asyncio.sleep(0.05), grace=5)
    assert scope.cancelled_caught


async def test_a_scope_of_anyio_does_not_make_us_spin() -> None:
    """It cancels in every turn of the loop."""
    with anyio.move_on_after(0.01):
        busy = time.process_time()
        await see_through(asyncio.sleep(0.5), grace=5)
    assert time.process_time() - busy < 0.2


async def test_work_that_takes_longer_than_its_grace_is_ended() -> None:
    with pytest.raises(TimeoutError):
        await to_its_end(asyncio.sleep(FOREVER), grace=0.01, hurry=True)


async def test_work_that_is_cancelled_by_another_is_no_timeout() -> None:
    with pytest.raises(NotOursError):
        await to_its_end(cancelled_by_another(), grace=5)


async def test_ending_tasks_goes_through_when_we_are_cancelled_meanwhile() -> None:
    slow_end = asyncio.Event()

    async def slow() -> None:
        try:
            await asyncio.sleep(FOREVER)
        finally:
            await asyncio.sleep(0.02)
            slow_end.set()

    inner = asyncio.create_task(slow())
    await asyncio.sleep(0)
    ending = asyncio.create_task(end([inner]))
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert slow_end.is_set()

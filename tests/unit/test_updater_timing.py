"""What the updater decides, and when, in virtual time.

The sink in memory only notes what it is told and when; what a database makes of it is tested on real
stores (tests/integration/test_updater.py).
"""

from __future__ import annotations

import asyncio
import hashlib
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_toolkit.errors import (
    InputError,
    SchemaError,
    StaleAttempt,
    StoreUnavailable,
    Unauthorized,
    Unreachable,
)
from realtime_toolkit.model import Status
from realtime_toolkit.tasks import NotOursError
from realtime_toolkit.write.chunking import CHUNK_BYTES, Outbox
from realtime_toolkit.write.updater import ThrottledMessageUpdater
from tests.unit.virtual_time import now, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

DOWN = StoreUnavailable("append_chunk at nowhere: no answer in time")


@dataclass
class Sink:
    """Notes every call; ``takes`` seconds each; raises what ``failures`` holds, first come, first raised."""

    takes: float = 0.0
    failures: list[Exception] = field(default_factory=list)
    tried: list[tuple[float, int, int, str]] = field(default_factory=list)
    chunks: list[tuple[float, int, int, str]] = field(default_factory=list)
    contents: list[tuple[float, str | None]] = field(default_factory=list)
    checkpoints: list[tuple[float, int]] = field(default_factory=list)
    finished: list[tuple[float, str, int, str, str | None]] = field(default_factory=list)
    in_flight: int = 0
    failing_checkpoints: int = 0

    async def _write(self) -> None:
        self.in_flight += 1
        assert self.in_flight == 1, "two writes in flight"
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.in_flight -= 1
        if self.failures:
            raise self.failures.pop(0)

    async def start_message(self, message: str, attempt: int) -> None:
        pass

    async def append_chunk(self, message: str, attempt: int, seq: int, position: int, body: str) -> bool:
        chunk = (now(), seq, position, body)
        self.tried.append(chunk)
        await self._write()
        self.chunks.append(chunk)
        return True

    async def checkpoint_message(self, message: str, attempt: int, content: str | None = None) -> None:
        at = now()
        await self._write()
        if self.failing_checkpoints:
            self.failing_checkpoints -= 1
            raise DOWN
        self.contents.append((at, content))
        self.checkpoints.append((at, len(self.text)))

    async def finish_message(
        self, message: str, attempt: int, status: str, length: int, sha256: str, content: str | None = None
    ) -> dict[str, Any]:
        await self._write()
        self.finished.append((now(), status, length, sha256, content))
        return {}

    async def resume_message(self, message: str, attempt: int) -> dict[str, Any]:
        return {"attempt": attempt, "next_seq": len(self.chunks), "length": len(self.text)}

    async def message(self, message: str) -> dict[str, Any]:
        return {"content": self.contents[-1][1] if self.contents else ""}

    async def chunk_bodies(self, message: str, attempt: int, count: int) -> list[str]:
        return [body for _, _, _, body in self.chunks[:count]]

    @property
    def text(self) -> str:
        return "".join(body for _, _, _, body in self.chunks)

    def check(self, text: str, status: Status = Status.COMPLETED) -> None:
        """The whole text is there, once, and the end says so."""
        assert self.text == text
        assert [seq for _, seq, _, _ in self.chunks] == list(range(len(self.chunks)))
        assert [place for _, _, place, _ in self.chunks] == [
            sum(len(chunk[3]) for chunk in self.chunks[:number]) for number in range(len(self.chunks))
        ]
        digest = hashlib.sha256(text.encode()).hexdigest()
        assert [end[1:4] for end in self.finished] == [(status, len(text), digest)]


def updater(sink: Sink, **options: Any) -> ThrottledMessageUpdater:
    return ThrottledMessageUpdater(sink, "m", **options)


# When


def test_the_first_text_goes_out_at_once_and_the_rest_once_an_interval() -> None:
    sink, tokens = Sink(), [f"{number} " for number in range(250)]

    async def stream() -> None:
        async with updater(sink) as message:
            for token in tokens:
                await message.append(token)
                await asyncio.sleep(0.02)

    run(stream())
    sink.check("".join(tokens))
    assert sink.chunks[0][0] == 0
    assert all(later[0] - earlier[0] >= 0.25 - 1e-6 for earlier, later in pairwise(sink.chunks[:-1]))
    ends = list(accumulate(map(len, tokens)))
    for at, _, position, _ in sink.chunks:
        arrival = 0.02 * bisect_right(ends, position)
        assert at <= arrival + 0.25 + 1e-6


@pytest.mark.parametrize("mode", ["chunks", "row"])
def test_a_trailing_flush_does_not_wait_for_the_next_token(mode: Any) -> None:
    sink = Sink()

    async def stream() -> None:
        async with updater(sink, mode=mode, interval=0.25) as message:
            await message.append("a")
            await asyncio.sleep(0.01)
            await message.append("b")
            await asyncio.sleep(1000)

    run(stream())
    times = [write[0] for write in (sink.chunks or sink.contents)]
    assert times == pytest.approx([0, 0.25])


def test_one_write_in_flight_and_a_slow_one_gathers_the_text_meanwhile() -> None:
    sink = Sink(takes=1.0)

    async def stream() -> None:
        async with updater(sink) as message:
            for number in range(100):
                await message.append(str(number % 10))
                await asyncio.sleep(0.02)

    run(stream())
    sink.check("".join(str(number % 10) for number in range(100)))
    assert [at for at, *_ in sink.chunks] == pytest.approx([0, 1, 2], abs=0.05)


def test_mode_row_writes_the_whole_text_once_an_interval() -> None:
    sink = Sink()

    async def stream() -> None:
        async with updater(sink, mode="row") as message:
            for _ in range(100):
                await message.append("x")
                await asyncio.sleep(0.02)

    run(stream())
    assert [content for _, content in sink.contents] == ["x", "x" * 25, "x" * 50, "x" * 75, "x" * 100]
    assert sink.finished[0][1:3] == ("completed", 100)
    assert sink.finished[0][4] == "x" * 100


def test_a_full_chunk_does_not_wait_and_a_huge_append_is_cut() -> None:
    sink, text = Sink(), "a€😀" * 1_000_000

    async def stream() -> None:
        async with updater(sink) as message:
            await message.append(text)

    run(stream())
    sink.check(text)
    sizes = [len(body.encode()) for *_, body in sink.chunks]
    assert max(sizes) <= CHUNK_BYTES
    assert min(sizes[:-1]) > CHUNK_BYTES - 4
    assert sink.finished[0][0] == 0


def test_checkpoints_are_geometric() -> None:
    sink = Sink()

    async def stream() -> None:
        async with updater(sink, interval=0.0) as message:
            for _ in range(4000):
                await message.append("sixteen letters ")
                await message.flush()

    run(stream())
    assert {content for _, content in sink.contents} == {None}  # the database assembles it
    lengths = [length for *_, length in sink.checkpoints]
    assert lengths[0] == 256
    assert all(4 * later >= 5 * earlier for earlier, later in pairwise(lengths) if earlier >= 1024)
    assert sum(lengths) < 6 * 64_000  # a geometric series: five times the text, whatever its length


# Failures


def test_a_write_with_an_unknown_outcome_is_repeated_as_it_was() -> None:
    sink = Sink(failures=[DOWN, Unreachable("nobody"), DOWN])

    async def stream() -> None:
        async with updater(sink) as message:
            await message.append("first")
            await asyncio.sleep(0.001)
            await message.append(" second")
            await asyncio.sleep(10)

    run(stream())
    sink.check("first second")
    assert [chunk[1:] for chunk in sink.tried[:4]] == [(0, 0, "first")] * 4


def test_append_waits_at_the_bounded_buffer() -> None:
    sink = Sink(failures=[DOWN] * 20)
    held: list[int] = []

    async def stream() -> None:
        async with updater(sink, max_buffer=100) as message:
            for _ in range(50):
                await message.append("seven..")
                held.append(message.length - message.stored)

    run(stream())
    sink.check("seven.." * 50)
    assert 90 < max(held) <= 100


def test_the_end_of_the_block_cuts_a_pause_between_two_tries_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime_toolkit.retry.backoff", lambda: iter([60.0] * 9))
    sink = Sink(failures=[DOWN])

    async def stream() -> None:
        async with updater(sink) as message:
            await message.append("text")
            await asyncio.sleep(1)

    run(stream())
    sink.check("text")
    assert sink.finished[0][0] == 1


@pytest.mark.parametrize("waiting", ["sleep", "append"])
def test_being_taken_over_ends_the_block_at_once(waiting: str) -> None:
    sink = Sink(failures=[DOWN, StaleAttempt("append_chunk: attempt 1 is over")])

    async def stream() -> None:
        async with updater(sink, max_buffer=10) as message:
            await message.append("0123456789")
            if waiting == "append":
                await message.append("more")
            await asyncio.sleep(1000)

    async def be_ended() -> float:
        with pytest.raises(StaleAttempt):
            await stream()
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        return now()

    assert run(be_ended()) < 0.2
    assert not sink.finished


def test_a_permanent_outage_ends_it_after_its_patience() -> None:
    sink = Sink(failures=[DOWN] * 10_000)

    async def stream() -> None:
        async with updater(sink, patience=30) as message:
            await message.append("text")
            await asyncio.sleep(1000)

    async def give_up() -> float:
        with pytest.raises(StoreUnavailable):
            await stream()
        return now()

    assert 20 < run(give_up()) <= 30


def test_a_checkpoint_that_fails_is_left_to_the_next_flush() -> None:
    sink = Sink(failing_checkpoints=1)

    async def stream() -> None:
        async with updater(sink) as message:
            await message.append("x" * 300)
            await asyncio.sleep(1)
            assert not sink.contents
            await message.append("y")
            await asyncio.sleep(1)

    run(stream())
    sink.check("x" * 300 + "y")
    assert len(sink.contents) == 1


# The end


def test_an_exception_stores_the_text_so_far_as_failed() -> None:
    sink = Sink(takes=0.1)

    async def stream() -> None:
        async with updater(sink) as message:
            await message.append("so ")
            await asyncio.sleep(0.05)
            await message.append("far")
            raise ValueError("the model died")

    with pytest.raises(ValueError, match="the model died"):
        run(stream())
    sink.check("so far", Status.FAILED)


def test_a_cancellation_stores_the_text_so_far_even_if_it_comes_twice() -> None:
    sink = Sink(takes=0.5)

    async def stream() -> None:
        async with updater(sink) as message:
            await message.append("so ")
            await asyncio.sleep(0.1)
            await message.append("far")
            await asyncio.sleep(1000)

    async def cancel_twice() -> None:
        task = asyncio.create_task(stream())
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancel_twice())
    sink.check("so far", Status.CANCELLED)


@pytest.mark.parametrize("moment", [0.2, 1.1])
def test_a_cancellation_waits_no_longer_than_grace_for_a_store_that_is_down(moment: float) -> None:
    sink = Sink()

    async def stream() -> None:
        async with updater(sink, grace=3) as message:
            await message.append("text")
            await asyncio.sleep(0.1)
            sink.failures = [DOWN] * 1000
            await message.append(" that cannot be stored")
            await asyncio.sleep(0.9)

    async def cancel() -> float:
        task = asyncio.create_task(stream())
        await asyncio.sleep(moment)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return now()

    assert run(cancel()) == pytest.approx(moment + 3)
    assert not sink.finished


def test_a_cancellation_during_the_last_writes_lets_them_end() -> None:
    sink = Sink(takes=1)

    async def stream() -> None:
        async with updater(sink) as message:
            await message.append("text")

    async def cancel() -> None:
        task = asyncio.create_task(stream())
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(cancel())
    sink.check("text")


def test_a_timeout_around_it_stays_a_timeout() -> None:
    sink = Sink()

    async def stream() -> None:
        async with asyncio.timeout(2), updater(sink) as message:
            await message.append("text")
            await asyncio.sleep(1000)

    with pytest.raises(TimeoutError):
        run(stream())
    sink.check("text", Status.CANCELLED)


def test_a_cancellation_beside_a_failure_stays_a_cancellation() -> None:
    sink = Sink(failures=[StaleAttempt("over")])

    async def stream() -> None:
        task = asyncio.current_task()
        assert task is not None
        async with updater(sink) as message:
            await message.append("text")
            asyncio.get_running_loop().call_soon(task.cancel)
            await asyncio.sleep(1000)

    async def cancel() -> None:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(stream())

    run(cancel())


def test_a_generator_that_is_closed_cancels() -> None:
    sink = Sink()

    async def stream() -> AsyncIterator[int]:
        async with updater(sink) as message:
            await message.append("text")
            yield 1
            await message.append(" never asked for")

    async def leave_early() -> None:
        generator = stream()
        assert await anext(generator) == 1
        await generator.aclose()  # type: ignore[attr-defined]

    run(leave_early())
    sink.check("text", Status.CANCELLED)


@pytest.mark.parametrize("mode", ["chunks", "row"])
def test_no_text_at_all_is_a_message_too(mode: Any) -> None:
    sink = Sink()

    async def stream() -> None:
        async with updater(sink, mode=mode) as message:
            await message.append("")

    run(stream())
    sink.check("")
    assert not sink.contents


def test_append_after_the_end_raises() -> None:
    async def stream() -> None:
        async with updater(Sink()) as message:
            await message.append("text")
        await message.append("")
        with pytest.raises(RuntimeError, match="closed"):
            await message.append("late")

    run(stream())


def test_appends_at_once_keep_their_order() -> None:
    sink = Sink(takes=0.01)

    async def stream() -> None:
        async with updater(sink, max_buffer=7) as message, asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(message.append(f"<{number} is longer than the buffer>"))

    run(stream())
    sink.check("".join(f"<{number} is longer than the buffer>" for number in range(20)))


def test_an_append_that_comes_just_when_there_is_room_waits_its_turn() -> None:
    sink = Sink(takes=0.01)

    async def stream() -> None:
        async with updater(sink, max_buffer=7) as message, asyncio.TaskGroup() as group:
            group.create_task(message.append("longer than the buffer, "))
            await asyncio.sleep(0)
            await asyncio.sleep(0.01)  # to the end of the first write, and before whoever waits for it
            group.create_task(message.append("later"))

    run(stream())
    sink.check("longer than the buffer, later")


@pytest.mark.parametrize("mode", ["chunks", "row"])
def test_it_goes_on_behind_what_is_stored(mode: Any) -> None:
    sink = Sink()

    async def crash() -> None:
        message = updater(sink, mode=mode)
        await message.__aenter__()
        await message.append("one ")
        await message.flush()
        message._writer.cancel()

    async def resume() -> None:
        async with updater(sink, mode=mode, resume=True) as message:
            assert message.resumed == "one "
            await message.append("two")

    run(crash())
    run(resume())
    if mode == "chunks":
        sink.check("one two")
    else:
        assert sink.finished[0][4] == "one two"


# Whose cancellation, whose mistake


async def half_cancelled() -> None:
    """As Python before 3.11.4 leaves a task in which a task group has failed."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)
    assert task.cancelling() == 1


def test_a_cancellation_that_is_not_ours_is_a_failure() -> None:
    sink = Sink()

    async def stream() -> None:
        async with updater(sink) as message:
            await message.append("so far")
            raise asyncio.CancelledError

    async def job() -> None:
        with pytest.raises(asyncio.CancelledError):
            await stream()

    run(job())
    sink.check("so far", Status.FAILED)


@pytest.mark.parametrize("failures", [[], [DOWN, DOWN], [StaleAttempt("over")]])
def test_in_a_task_that_is_half_cancelled(failures: list[Exception]) -> None:
    sink = Sink(failures=list(failures))

    async def stream() -> None:
        await half_cancelled()
        async with updater(sink) as message:
            await message.append("text")
            await asyncio.sleep(10)

    if any(isinstance(failure, StaleAttempt) for failure in failures):
        with pytest.raises(StaleAttempt):
            run(stream())
    else:
        run(stream())
        sink.check("text")


def test_a_block_that_makes_something_else_of_being_ended() -> None:
    """A model's client may turn a cancellation into an error of its own: the reason stays the reason."""
    sink = Sink(failures=[StaleAttempt("over")])

    async def stream() -> None:
        async with updater(sink) as message:
            await message.append("text")
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                raise RuntimeError("the model's client was interrupted") from None

    async def job() -> int:
        with pytest.raises(StaleAttempt):
            await stream()
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert run(job()) == 0


def test_a_block_that_will_not_hear_of_it() -> None:
    sink = Sink(failures=[StaleAttempt("over")])

    async def stream() -> None:
        async with updater(sink) as message:
            await message.append("text")
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(1000)
            with pytest.raises(StaleAttempt):
                await message.append("more")
            with pytest.raises(StaleAttempt):
                await message.flush()

    async def job() -> int:
        with pytest.raises(StaleAttempt):
            await stream()
        await asyncio.sleep(1)  # nothing is left to be delivered
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert run(job()) == 0


def test_a_writer_that_somebody_cancels_ends_the_block() -> None:
    sink = Sink(takes=1)

    async def stream() -> None:
        async with updater(sink) as message:
            await message.append("text")
            await asyncio.sleep(0.5)
            message._writer.cancel()
            await asyncio.sleep(1000)

    async def job() -> float:
        with pytest.raises(NotOursError):
            await stream()
        return now()

    assert run(job()) == 0.5


def test_a_failure_while_the_block_ends_is_raised_and_nothing_is_cancelled() -> None:
    sink = Sink(takes=1, failures=[StaleAttempt("over")])

    async def stream() -> None:
        async with updater(sink) as message:
            await message.append("text")
            await asyncio.sleep(0.5)

    async def job() -> int:
        with pytest.raises(StaleAttempt):
            await stream()
        await asyncio.sleep(1)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert run(job()) == 0


@pytest.mark.parametrize("takes", [0.0, 0.5])
def test_a_scope_of_anyios_keeps_its_cancellation(takes: float) -> None:
    sink = Sink(takes=takes)

    async def stream() -> None:
        with anyio.move_on_after(2) as scope:
            async with updater(sink) as message:
                await message.append("text")
                await asyncio.sleep(1000)
        assert scope.cancelled_caught
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        await asyncio.sleep(1)

    run(stream())
    sink.check("text", Status.CANCELLED)


@pytest.mark.parametrize(
    "passing", [SchemaError("no such function"), Unauthorized("issued at future", retryable=True)]
)
def test_what_passes_in_the_middle_of_an_answer_is_repeated(passing: Exception) -> None:
    sink = Sink(failures=[passing] * 3)

    async def stream() -> None:
        async with updater(sink) as message:
            await message.append("text")

    run(stream())
    sink.check("text")


def test_a_wait_that_was_asked_for_is_kept() -> None:
    sink = Sink(failures=[StoreUnavailable("busy", retry_after=30)])

    async def stream() -> None:
        async with updater(sink) as message:
            await message.append("text")
            await asyncio.sleep(60)

    run(stream())
    assert sink.chunks[0][0] >= 30


def test_deltas_of_a_model() -> None:
    sink = Sink()

    async def stream() -> None:
        async with updater(sink) as message:
            for delta in (None, "", "text", None):
                await message.append(delta)
            wrong: Any
            for wrong in (b"bytes", 7, ["a"]):
                with pytest.raises(InputError, match=type(wrong).__name__):
                    await message.append(wrong)

    run(stream())
    sink.check("text")


@pytest.mark.parametrize("options", [{"mode": "rows"}, {"max_buffer": 0}])
def test_options_that_cannot_be(options: Any) -> None:
    with pytest.raises(InputError):
        updater(Sink(), **options)


def test_it_says_how_far_it_is() -> None:
    assert repr(updater(Sink())) == "<ThrottledMessageUpdater message m, attempt 1: 0 of 0 characters stored>"


EVENTS = st.lists(
    st.one_of(
        st.text(st.characters(), max_size=30),
        st.floats(0.001, 2),
        st.just(DOWN),
        st.just(Unreachable("nobody")),
    ),
    max_size=30,
)


@settings(max_examples=150, deadline=None)
@given(EVENTS, st.sampled_from([0.0, 0.3]), st.integers(1, 40))
def test_whatever_happens_the_text_is_stored_once_and_in_order(
    events: list[str | float | Exception], takes: float, buffer: int
) -> None:
    sink, expected = Sink(takes=takes), Outbox()

    async def stream() -> None:
        async with updater(sink, max_buffer=buffer) as message:
            for event in events:
                if isinstance(event, str):
                    expected.add(event)
                    await message.append(event)
                elif isinstance(event, Exception):
                    sink.failures.append(event)
                else:
                    await asyncio.sleep(event)

    run(stream())
    expected.add("", final=True)
    sink.check(expected.cut())

"""Stream text into a message row: O(n) bytes written, nothing lost, nothing twice.

What is written when is decided in :mod:`~realtime_toolkit.write.chunking`; here the text is moved. Text is counted in
code points, as Python's ``len`` and Postgres' ``char_length`` do.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, Self

from realtime_toolkit.errors import (
    ContentMismatch,
    IllegalTransition,
    InputError,
    StoreUnavailable,
    ToolkitError,
)
from realtime_toolkit.model import Status
from realtime_toolkit.retry import persist
from realtime_toolkit.tasks import NotOursError, happens, see_through, spawn, to_its_end
from realtime_toolkit.write.chunking import CHECKPOINT, CHUNK_BYTES, INTERVAL, Mode, Outbox, Throttle
from realtime_toolkit.write.texts import text_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import TypeVar

    from realtime_toolkit.model import Row

    T = TypeVar("T")

log = logging.getLogger(__name__)


class MessageSink(Protocol):
    """What the updater writes to. Every call may be repeated after an unknown outcome."""

    async def start_message(self, message: str, attempt: int) -> Any: ...
    async def append_chunk(self, message: str, attempt: int, seq: int, position: int, body: str) -> bool: ...
    async def checkpoint_message(self, message: str, attempt: int, content: str | None = None) -> Any: ...
    async def finish_message(
        self, message: str, attempt: int, status: str, length: int, sha256: str, content: str | None = None
    ) -> Row: ...
    async def resume_message(self, message: str, attempt: int) -> Row: ...
    async def message(self, message: str) -> Row: ...
    async def chunk_bodies(self, message: str, attempt: int, count: int) -> list[str]: ...


class ThrottledMessageUpdater:
    """Streams text into one message, for one attempt at it::

        async with ThrottledMessageUpdater(store, message_id) as message:
            async for token in tokens:
                await message.append(token)

    Leaving normally sets the status ``completed``, an exception ``failed`` (and so does a ``CancelledError`` though
    nobody cancelled this task), a cancellation ``cancelled``; in each case all text appended so far is stored first. ``mode="chunks"`` inserts a row per flush
    (O(n) bytes) and checkpoints the message's ``content`` now and then; ``mode="row"`` rewrites
    ``content`` at each flush (O(n²), for short answers).

    A write that fails for a passing reason is repeated for ``patience`` seconds while ``append``
    accepts up to ``max_buffer`` code points and then waits. Any other failure ends the updater at once:
    like :func:`asyncio.timeout` it cancels the block and raises the reason from it, such as
    :class:`~realtime_toolkit.errors.StaleAttempt` when another worker has taken over. After a cancellation the
    final writes get ``grace`` seconds; what they cannot store then stays resumable.

    ``resume=True`` goes on behind what an earlier process stored for the same attempt; the text is in
    ``resumed``.
    """

    def __init__(
        self,
        store: MessageSink,
        message_id: str,
        *,
        attempt: int = 1,
        mode: Mode = "chunks",
        interval: float | None = None,
        max_buffer: int = 256 * 1024,
        patience: float = 300.0,
        grace: float = 5.0,
        resume: bool = False,
    ) -> None:
        if mode not in INTERVAL:
            raise InputError(f"mode is chunks or row, not {mode!r}")
        if max_buffer < 1:
            raise InputError(f"max_buffer is at least 1, not {max_buffer}")
        self._store = store
        self._message = message_id
        self._attempt = attempt
        self._mode: Mode = mode
        self._max_buffer = max_buffer
        self._patience = patience
        self._grace = grace
        self._resume = resume
        self._throttle = Throttle(INTERVAL[mode] if interval is None else interval)
        self._outbox = Outbox()
        self._sha256 = hashlib.sha256()
        self._content = ""  # mode "row" only
        self._seq = 0
        self._checkpoint_at = CHECKPOINT
        self._order = asyncio.Lock()  # its waiters are served first come, first served
        self._progress = asyncio.Event()  # a new one each time
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._flushing = 0
        self._failure: BaseException | None = None
        self._begun = False
        self._interrupted = False
        self.resumed = ""
        """The text found stored when ``resume=True``."""
        self.length = 0
        """Code points accepted."""
        self.stored = 0
        """Code points known to be stored."""
        self.writes = 0
        """Flushes done."""

    def __repr__(self) -> str:
        so_far = f"{self.stored} of {self.length} characters stored"
        return f"<ThrottledMessageUpdater message {self._message}, attempt {self._attempt}: {so_far}>"

    async def __aenter__(self) -> Self:
        self._owner = asyncio.current_task()
        self._cancelling = self._owner.cancelling() if self._owner else 0
        _, cancelled = await to_its_end(self._begin(), grace=self._grace)
        self._writer = spawn(self._write(), f"write message {self._message}", self._writer_ended)
        if cancelled is not None:  # too late to leave no trace: the message has begun, so it must end
            await self.__aexit__(asyncio.CancelledError, cancelled, None)
            raise cancelled
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = self._take_interruption_back()
        # From here on the writer must not interrupt us any more: whatever is wrong is found below.
        self._accept("", final=True)
        self._closing.set()
        self._moved()
        if self._failure is None:
            await self._settle(self._status_for(kind))
        if self._failure is not None and self._failure is not error:
            if kind is None or interrupted:
                raise self._failure
            somebody = isinstance(self._failure, IllegalTransition)  # … has ended it already
            level = logging.INFO if somebody else logging.ERROR
            log.log(level, "message %s was left as it was: %s", self._message, self._failure)

    async def append(self, text: str | None) -> None:
        """Accept text, in the order of the calls; waits while the buffer is full. ``None`` is no text.

        Raises :class:`~realtime_toolkit.errors.InputError` for anything else, :class:`RuntimeError` after the end of
        the block, and the updater's own failure.
        """
        text = text_of(text)
        async with self._order:
            offset = 0
            while offset < len(text):
                room = await self._room()
                piece = text[offset : offset + room]
                offset += len(piece)
                self._accept(piece)

    async def flush(self) -> None:
        """Wait until all that was accepted is stored, without waiting for the interval."""
        target = self.length
        self._flushing += 1
        self._wake.set()
        try:
            await self._until(lambda: self.stored >= target)
        finally:
            self._flushing -= 1
        if self._failure is not None:
            raise self._failure

    async def _room(self) -> int:
        """How many code points may be accepted, once it is any."""
        if self.length - self.stored >= self._max_buffer:
            await self._until(lambda: self.length - self.stored < self._max_buffer or self._closing.is_set())
        if self._failure is not None:
            raise self._failure
        if self._closing.is_set():
            raise RuntimeError(f"message {self._message} is closed")
        return self._max_buffer - (self.length - self.stored)

    def _accept(self, text: str, *, final: bool = False) -> None:
        clean = self._outbox.add(text, final=final)
        self._sha256.update(clean.encode())
        self.length += len(clean)
        self._wake.set()

    def _moved(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for progress that makes it true, or for a failure."""
        while not condition() and self._failure is None:
            await self._progress.wait()

    # The writer: one task, so one write in flight

    async def _write(self) -> None:
        while await self._due():
            await self._flush_once()
            self._moved()

    def _writer_ended(self, error: BaseException | None) -> None:
        """Whatever it was, nobody must wait for progress any longer, and a block that still runs must end."""
        if isinstance(error, asyncio.CancelledError):
            error = NotOursError(f"the writer of message {self._message} was cancelled, and not by us")
        self._failure = error
        if error is not None and self._owner is not None and not self._closing.is_set():
            self._interrupted = self._owner.cancel()
        self._moved()

    async def _due(self) -> bool:
        """Wait until something is to be written; false when all is and no more can come."""
        clock = asyncio.get_running_loop().time
        while True:
            self._wake.clear()
            if not self._outbox.size and self._closing.is_set():
                return False
            wait = self._throttle.wait(clock()) if self._outbox.size else None
            if wait is not None and (wait <= 0 or self._urgent()):
                return True
            await happens(self._wake, wait)

    def _urgent(self) -> bool:
        """The interval saves writes; there is none to save when a chunk is full."""
        full = self._mode == "chunks" and self._outbox.size >= CHUNK_BYTES
        return full or self._flushing > 0 or self._closing.is_set()

    async def _flush_once(self) -> None:
        self._throttle.wrote(asyncio.get_running_loop().time())
        if self._mode == "row":
            self._content += self._outbox.cut()
            await self._persist(partial(self._checkpoint, self._content))
            self.stored = len(self._content)
        else:
            # Cut once: a repetition after an unknown outcome must send the same body under the same seq.
            body = self._outbox.cut(CHUNK_BYTES)
            await self._persist(
                partial(self._store.append_chunk, self._message, self._attempt, self._seq, self.stored, body)
            )
            self._seq += 1
            self.stored += len(body)
            await self._checkpoint_if_grown()
        self.writes += 1

    async def _checkpoint_if_grown(self) -> None:
        """Rewrite the row when the text has grown by a quarter: geometric, so O(n) in all."""
        if self.stored < self._checkpoint_at or self._closing.is_set():
            return
        try:
            await self._checkpoint()
        except ToolkitError as error:
            if not error.retryable:
                raise
            return  # the text itself is stored; the next flush tries again
        self._checkpoint_at = _next_checkpoint(self.stored)

    def _checkpoint(self, content: str | None = None) -> Awaitable[Any]:
        return self._store.checkpoint_message(self._message, self._attempt, content)

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        return await persist(call, patience=self._patience, worked=self._begun, pause=self._pause)

    async def _pause(self, delay: float) -> None:
        """Sleep between two tries; the end of the block cuts the pause short, once."""
        if self._closing.is_set():
            await asyncio.sleep(delay)
        else:
            await happens(self._closing, delay)

    def _take_interruption_back(self) -> bool:
        """Whether we cancelled the block, and nobody else did; what it made of that does not matter."""
        if not self._interrupted or self._owner is None:
            return False
        return self._owner.uncancel() <= self._cancelling

    # The end

    async def _settle(self, status: Status) -> None:
        """Drain and finish, out of reach of a cancellation."""
        hurry = status is Status.CANCELLED
        try:
            await see_through(self._finish(status), grace=self._grace, hurry=hurry)
        except TimeoutError as error:
            self._failure = StoreUnavailable(f"the last writes of message {self._message}: {error}")
        except Exception as error:
            self._failure = error

    def _status_for(self, kind: type[BaseException] | None) -> Status:
        """An exception is a failure; what is not one (a cancellation, Ctrl-C, a closed generator) cancels."""
        if kind is None:
            return Status.COMPLETED
        theirs = issubclass(kind, asyncio.CancelledError) and not self._is_cancelled()
        return Status.FAILED if issubclass(kind, Exception) or theirs else Status.CANCELLED

    def _is_cancelled(self) -> bool:
        return self._owner is None or self._owner.cancelling() > self._cancelling

    async def _finish(self, status: Status) -> None:
        await asyncio.wait({self._writer})
        if self._failure is not None:
            raise self._failure
        content = self._content if self._mode == "row" else None
        digest = self._sha256.hexdigest()
        await self._persist(
            partial(
                self._store.finish_message, self._message, self._attempt, status, self.length, digest, content
            )
        )

    async def _begin(self) -> None:
        await self._persist(partial(self._store.start_message, self._message, self._attempt))
        self._begun = True
        if self._resume:
            await self._go_on()

    async def _go_on(self) -> None:
        """Take up what is stored for this attempt."""
        found = await self._persist(partial(self._store.resume_message, self._message, self._attempt))
        self._seq = int(found["next_seq"])
        if self._mode == "row":
            row = await self._persist(partial(self._store.message, self._message))
            text = self._content = str(row["content"] or "")
        else:
            bodies = self._store.chunk_bodies
            text = "".join(await self._persist(partial(bodies, self._message, self._attempt, self._seq)))
            if len(text) != int(found["length"]):
                raise ContentMismatch(f"message {self._message} holds {len(text)} characters in its chunks")
        self.resumed = text
        self.length = self.stored = len(text)
        self._sha256.update(text.encode())
        self._checkpoint_at = _next_checkpoint(len(text))


def _next_checkpoint(length: int) -> int:
    return length + max(CHECKPOINT, length // 4)

"""Events on their way to a handler that may be slower than the stream."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from realtime_toolkit.events import Event


class Inbox:
    """A queue with a mark: above ``limit`` events it is :attr:`full`, and whoever can wait should.

    Nothing that is put is ever dropped, but for one case: where nobody has begun to take events by the time
    it is full, or whoever did has left, it takes it that nobody will, and forgets them; a taker who comes later
    begins then.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: deque[Event] = deque()
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.attended = False
        """Somebody takes events."""
        self._closed = False

    def __len__(self) -> int:
        return len(self._events)

    @property
    def full(self) -> bool:
        return len(self._events) >= self._limit

    def put(self, events: Iterable[Event]) -> None:
        self._events.extend(events)
        if self.full:
            self._room.clear()
            if not self.attended:
                self._events.clear()
                self._room.set()
        if self._events:
            self._arrived.set()

    async def room(self) -> None:
        """Wait until a full queue has become half empty."""
        await self._room.wait()

    async def take(self) -> Event | None:
        """The next event; ``None`` after :meth:`close`, once the rest has been taken."""
        self.attended = True
        while not self._events:
            if self._closed:
                return None
            self._arrived.clear()
            await self._arrived.wait()
        event = self._events.popleft()
        if 2 * len(self._events) <= self._limit:
            self._room.set()
        return event

    def leave(self) -> None:
        """Whoever took events takes no more."""
        self.attended = False
        self.put(())

    def close(self) -> None:
        self._closed = True
        self._arrived.set()

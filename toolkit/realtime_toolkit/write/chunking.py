"""When a text is written, and in which pieces: pure decisions, with the clock as an argument.

Text is counted in code points, as Python's ``len`` and Postgres' ``char_length`` do.
"""

from __future__ import annotations

import codecs
from collections import deque
from typing import Literal

Mode = Literal["chunks", "row"]
INTERVAL: dict[Mode, float] = {"chunks": 0.25, "row": 0.5}
CHUNK_BYTES = 64 * 1024
"""UTF-8 bytes of a chunk's body. At most 384 KiB as JSON, far below Realtime's 1 MiB for a record."""
CHECKPOINT = 256
"""Code points by which the text must have grown, at least, before the row is checkpointed again."""


class Throttle:
    """When a write may start: at once after a pause, then at most one per ``interval`` seconds.

    ``now`` is in seconds of any clock that does not go back.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._earliest = float("-inf")

    def wait(self, now: float) -> float:
        """Seconds until text that is there now should be written."""
        return max(0.0, self._earliest - now)

    def wrote(self, now: float) -> None:
        """A write starts now."""
        self._earliest = now + self._interval


class Outbox:
    """Text that was accepted and is not cut into a write yet; keeps its order and makes it storable.

    What Postgres cannot store becomes U+FFFD: U+0000 and a surrogate without its other half. Two
    halves that come in two pieces become the character they mean.
    """

    def __init__(self) -> None:
        self._pieces: deque[str] = deque()
        self._decoder = codecs.getincrementaldecoder("utf-16-le")(errors="replace")
        self.size = 0
        """Code points."""

    def add(self, text: str, *, final: bool = False) -> str:
        """Accept text; returns what it became. ``final`` gives up on a half that waits for the other."""
        clean = self._decoder.decode(text.encode("utf-16-le", "surrogatepass"), final).replace("\0", "\ufffd")
        if clean:
            self._pieces.append(clean)
            self.size += len(clean)
        return clean

    def cut(self, max_bytes: int | None = None) -> str:
        """Take text from the front: all of it, or as many whole characters as ``max_bytes`` of UTF-8 hold."""
        text = "".join(self._pieces)
        self._pieces.clear()
        head = text if max_bytes is None else _prefix(text, max_bytes)
        if len(head) < len(text):
            self._pieces.append(text[len(head) :])
        self.size -= len(head)
        return head


def _prefix(text: str, max_bytes: int) -> str:
    data = text[:max_bytes].encode()
    return data[:max_bytes].decode(errors="ignore")

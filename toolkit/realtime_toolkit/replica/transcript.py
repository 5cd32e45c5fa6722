"""The text of streamed messages, put together from rows: all that the read side knows of the chat schema.

A message's text comes as rows of ``message_chunks`` (``position`` is the character at which ``body``
begins) and as ``content`` of its row in ``messages``, in any order, with repetitions, from the stream
and from syncs. Handlers get each character of an attempt exactly once and in order.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from realtime_toolkit.events import TextAppended, TextReset
from realtime_toolkit.exact import loads
from realtime_toolkit.model import Status, canonical_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_toolkit.events import Event
    from realtime_toolkit.model import Row

MESSAGES = "public.messages"
CHUNKS = "public.message_chunks"


class Transcript:
    """The text of one message, in its newest attempt.

    Of a message that is complete only a hash is kept: the text is the ``content`` of its row.
    """

    __slots__ = ("_hash", "_parts", "_waiting", "attempt", "final", "length", "message_id")

    def __init__(self, message_id: str, attempt: int = 0, text: str = "", *, final: bool = False) -> None:
        self.message_id = message_id
        self.attempt = attempt
        self.length = len(text)
        self.final = final
        """The row said that nothing more will come in this attempt."""
        self._parts: list[str] = [text] if text else []
        self._hash: str | None = None
        self._waiting: dict[int, str] = {}

    @property
    def text(self) -> str | None:
        """``None``: it is the first :attr:`length` characters of the row's content."""
        if self._hash is not None:
            return None
        self._parts = ["".join(self._parts)]
        return self._parts[0]

    def release(self) -> None:
        """The row has all of the text: forget it here."""
        self._hash = _hash("".join(self._parts))
        self._parts = []

    @property
    def hole(self) -> int | None:
        """The position of the first missing character, where later ones have already come."""
        return self.length if self._waiting else None

    def chunk(self, attempt: int, position: int, body: str) -> list[Event]:
        events = self._enter(attempt)
        if attempt == self.attempt and not self.final and position + len(body) > self.length:
            self._waiting[position] = max(body, self._waiting.get(position, ""), key=len)
            events += self._continue()
        return events

    def row(self, attempt: int, status: str, content: str) -> list[Event]:
        events = self._enter(attempt)
        # A pending row may still carry the text of the attempt before.
        if attempt < self.attempt or status == Status.PENDING:
            return events
        self.final = status not in (Status.PENDING, Status.STREAMING)
        if self.final:
            self._waiting.clear()
        text = self.text
        if text is None:  # released: from here on it is kept again
            known = _hash(content[: self.length]) == self._hash
            text = content[: self.length] if known else ""
            self._parts, self._hash = [text], None
            events += [] if known else self._restart()
        elif not content.startswith(text):
            if not self.final and text.startswith(content):
                return events  # a checkpoint older than what the chunks brought
            events += self._restart()
        return events + self._append(content[self.length :]) + self._continue()

    def _enter(self, attempt: int) -> list[Event]:
        if attempt <= self.attempt:
            return []
        self.attempt = attempt
        self.final = False
        self._waiting.clear()
        return self._restart()

    def _restart(self) -> list[Event]:
        had_text = self.length > 0
        self._parts, self._hash, self.length = [], None, 0
        return [TextReset(self.message_id, self.attempt)] if had_text else []

    def _append(self, text: str) -> list[Event]:
        if not text:
            return []
        position = self.length
        self._parts.append(text)
        self.length += len(text)
        return [TextAppended(self.message_id, self.attempt, position, text)]

    def _continue(self) -> list[Event]:
        """Append what has been waiting for the text to reach it."""
        events: list[Event] = []
        while self._waiting and (position := min(self._waiting)) <= self.length:
            events += self._append(self._waiting.pop(position)[self.length - position :])
        return events

    def dump(self, text: str | None) -> dict[str, Any]:
        """With the text, or where that is ``None`` without: then the row must be stored."""
        waiting = [[position, body] for position, body in sorted(self._waiting.items())]
        whole = {"attempt": self.attempt, "text": text, "final": self.final, "waiting": waiting}
        return whole if text is not None else {**whole, "length": self.length, "hash": self._hash}

    @classmethod
    def load(cls, message_id: str, data: dict[str, Any]) -> Transcript:
        made = cls(message_id, data["attempt"], data["text"] or "", final=data["final"])
        made._waiting = dict(data["waiting"])
        if data["text"] is None:
            made.length, made._hash = data["length"], data["hash"]
        return made


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class Transcripts:
    """The transcripts of every message in a replica, fed with every row it takes in or drops."""

    def __init__(self) -> None:
        self._by_message: dict[str, Transcript] = {}
        self._with_hole: dict[str, Transcript] = {}

    def __getitem__(self, message_id: str) -> Transcript:
        """Raises :class:`KeyError` for a message of which nothing has come."""
        return self._by_message[message_id]

    @property
    def have_holes(self) -> bool:
        return bool(self._with_hole)

    def holes(self) -> dict[str, int]:
        """Message id → position of the first character that is missing though later ones have come."""
        return {message_id: found.length for message_id, found in self._with_hole.items()}

    def take(self, table: str, row: Row | None, key: str | None = None) -> list[Event]:
        """A row that is held from now on, under its canonical ``key``: then a text need not be kept twice.

        A table of that name with columns of other types is somebody's own.
        """
        if table not in (CHUNKS, MESSAGES):
            return []
        match row:
            case {
                "message_id": message_id,
                "attempt": int(attempt),
                "position": int(position),
                "body": str(body),
            } if table == CHUNKS:
                found = self._of(message_id)
                events = found.chunk(attempt, position, body)
            case {
                "id": message_id,
                "attempt": int(attempt),
                "status": str(status),
                "content": str() | None as content,
            } if table == MESSAGES:
                found = self._of(message_id)
                events = found.row(attempt, status, content or "")
                if found.final and found.attempt == attempt and key == canonical_key([found.message_id]):
                    found.release()
            case _:
                return []
        self._mark(found)
        return events

    def _mark(self, found: Transcript) -> None:
        if found.hole is not None:
            self._with_hole[found.message_id] = found
        else:
            self._with_hole.pop(found.message_id, None)

    def drop(self, table: str, key: str) -> list[Event]:
        """The row is gone: so is its text."""
        found = self._by_message.pop(str(loads(key)[0]), None) if table == MESSAGES else None
        if found is None:
            return []
        self._with_hole.pop(found.message_id, None)
        return [TextReset(found.message_id, found.attempt)] if found.length else []

    def _of(self, message_id: Any) -> Transcript:
        found = self._by_message.get(str(message_id))
        if found is None:
            found = self._by_message[str(message_id)] = Transcript(str(message_id))
        return found

    def dump(self, content: Callable[[Transcript], str | None]) -> dict[str, Any]:
        """``content`` is asked for texts that are not kept here; ``None``: the rows are stored, and with them the text."""
        return {
            name: found.dump(content(found) if found.text is None else found.text)
            for name, found in self._by_message.items()
        }

    @classmethod
    def load(cls, data: dict[str, Any]) -> Transcripts:
        made = cls()
        for name, each in data.items():
            made._by_message[name] = Transcript.load(name, each)
            made._mark(made._by_message[name])
        return made

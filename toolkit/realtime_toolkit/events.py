"""What a listener tells its handler. Every event is frozen and safe to keep."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from realtime_toolkit.model import Change, RowRef

Via = Literal["live", "sync"]
"""``live``: an event of the stream brought it; ``sync``: a query did."""


class State(StrEnum):
    """How far the local copy can be trusted. Only ``synced`` says: it is what the database shows."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    SYNCING = "syncing"
    SYNCED = "synced"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class StateChanged:
    state: State
    reason: str


@dataclass(frozen=True, slots=True)
class RowChanged:
    """A row reached a version it did not have here before, or is gone (``change.type`` DELETE).

    Once for each (table, key, version) of a row's life; versions that were overtaken are skipped.
    """

    change: Change
    via: Via


@dataclass(frozen=True, slots=True)
class TextAppended:
    """The next characters of a message; ``position`` counts code points and equals the length so far."""

    message_id: str
    attempt: int
    position: int
    text: str


@dataclass(frozen=True, slots=True)
class TextReset:
    """Forget the text of this message: it begins again, at position 0."""

    message_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Recovered:
    """A sync brought this many row changes that the stream had not."""

    rows: int


@dataclass(frozen=True, slots=True)
class Resynced:
    """The local copy was compared with the database and equals it; ``reason`` says why it was looked at."""

    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """These rows cannot be made whole: the database does not have the missing part either."""

    rows: tuple[RowRef, ...]
    reason: str


Event = StateChanged | RowChanged | TextAppended | TextReset | Recovered | Resynced | Lost

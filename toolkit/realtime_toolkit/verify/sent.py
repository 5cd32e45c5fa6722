"""What was found of broadcasts, as values: what triggers sent, and who may hear it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realtime_toolkit.verify.access import Command, Whose
    from realtime_toolkit.verify.probing import Answer


@dataclass(frozen=True, slots=True)
class Hearer:
    """A role as Alice, who may listen to a message about somebody's row."""

    role: str
    whose: Whose
    joins: Answer
    reads: Answer


@dataclass(frozen=True, slots=True)
class Sent:
    """Messages of one kind: what a change of this table sends, and who may hear it."""

    table: str
    functions: tuple[str, ...]
    command: Command
    topic: str
    """With the row's values by their names: ``room:{public.rooms.id}``."""
    private: bool
    carried: tuple[str, ...]
    """Columns of the row, other than its key, whose values the payload holds."""
    hearers: tuple[Hearer, ...]
    joined: bool
    """Whether one of all the people may join, whosever the row is: Alice's recipient, the admin of her tenant."""
    unreadable: tuple[tuple[str, tuple[str, ...]], ...]
    """Role → columns carried that it may not select."""


@dataclass(frozen=True, slots=True)
class Silent:
    """Triggers that should send and sent nothing, whatever was changed."""

    table: str
    functions: tuple[str, ...]
    warning: str
    """What the database said meanwhile, SQLSTATE and message."""
    swallows: bool
    """An EXCEPTION handler could have hidden why."""


@dataclass(frozen=True, slots=True)
class Left:
    """A change of the column that a topic is made of, told to the topic of its old value alone."""

    table: str
    functions: tuple[str, ...]
    topic: str
    column: str


@dataclass(frozen=True, slots=True)
class Broadcasts:
    sent: tuple[Sent, ...] = ()
    silent: tuple[Silent, ...] = ()
    left: tuple[Left, ...] = ()

"""What can be written and should not, as words that those who try and those who judge share. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realtime_toolkit.verify.access import Command


class Deed(StrEnum):
    """Of several things that the same policies let happen, the first is the one that is said."""

    READING = "changes rows through a policy for reading"
    GAINS = "reaches more of others' rows afterwards"
    OWNERLESS = "changes rows that are nobody's"
    NULLS = "reaches by having no identity what one with an identity does not"
    UNSEEN = "changes rows that may not be read"
    REACHES = "changes rows of a stranger"
    TAKES = "takes a stranger's row over"
    ENTERS = "inserts into another's parent"
    NAMES = "inserts in another's name"
    MOVES = "moves an own row to a stranger"
    REMOVES = "deletes what may not be changed"
    RESERVED = "sets what is not the owner's business"


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that can be done, and should not."""

    deed: Deed
    table: str
    role: str
    command: Command
    ways: tuple[str, ...]
    columns: tuple[str, ...] = ()
    state: str = ""
    """What has to be so for it; empty for an ordinary row and person."""

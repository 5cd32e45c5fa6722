"""What calling functions and asking policies came to, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realtime_toolkit.verify.access import Command


@dataclass(frozen=True, slots=True)
class Harm:
    """What a role can do through a function that it cannot do by itself."""

    function: str
    role: str
    verb: str
    """``read`` or ``change``."""
    tables: tuple[str, ...]
    asks: bool
    """The function looks at the caller's token."""


@dataclass(slots=True)
class Called:
    harms: list[Harm] = field(default_factory=list)
    undecided: dict[str, str] = field(default_factory=dict)
    """Signature → why nothing is proven about it."""


@dataclass(frozen=True, slots=True)
class Opening:
    code: str
    table: str
    policy: str
    beside: tuple[str, ...]
    """Policies that it makes void."""
    commands: frozenset[Command]


@dataclass(slots=True)
class Walls:
    openings: list[Opening] = field(default_factory=list)
    undecided: dict[str, str] = field(default_factory=dict)
    """A table, or a policy, and why it could not be tried."""

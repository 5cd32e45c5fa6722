"""What was found of ``updated_at`` and ``version``, as values: whether every change moves them, and who else can."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

UPSERT = "an upsert"
"""In place of a column: the row inserted again, on conflict with itself."""


class Pace(StrEnum):
    """What two updates, one right after the other, did to a column that should tell them apart."""

    STUCK = "stuck"
    """The first left it where it was, or moved it back."""
    TIED = "tied"
    """The second did: now(), which stands still in a transaction, or a time that was cut."""
    CUT = "cut"
    """As TIED, and every value was a whole second or millisecond."""


@dataclass(frozen=True, slots=True)
class Still:
    """A change that did not move it."""

    column: str
    """What was changed; or :data:`UPSERT`."""
    pace: Pace
    role: str = ""
    """As whom, where ourselves and others could move it."""


@dataclass(frozen=True, slots=True)
class Given:
    """A value that a client gave it, and that stayed there."""

    role: str
    policies: tuple[str, ...] = ()
    """Those that may have let it through."""
    beside: str | None = None
    """What had to be set along with it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A column of a table that should say when, or how often, a row changed."""

    table: str
    column: str
    counts: bool
    """A version; else a time."""
    still: tuple[Still, ...] = ()
    always: bool = False
    """No change that was made moved it."""
    on_update: tuple[Given, ...] = ()
    on_insert: tuple[Given, ...] = ()
    taken_from: str | None = None
    """Another column of the row, whose value it took."""
    triggers: tuple[str, ...] = ()
    """Those whose function writes it."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """Updates that raise nothing and change nothing."""

    table: str
    by: tuple[str, ...]
    """Triggers and rules that may have done it."""
    column: str | None = None
    """The change that is dropped; ``None``: every one."""
    after: bool = False
    """Only where another came right before it."""


@dataclass(frozen=True, slots=True)
class Keeping:
    kept: tuple[Kept, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    undecided: tuple[str, ...] = ()
    """What could not be tried, and why."""

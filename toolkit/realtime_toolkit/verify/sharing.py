"""Which state of a row lets strangers in by design, and which only looks like one. Pure.

``is_public``, ``status = 'published'`` and ``visibility = 'link'`` share a row because somebody said so. ``subject <> ''``,
``deleted_at is null`` and ``status <> 'archived'`` are true of nearly every row: beside a policy that asks who reads, such a
disjunct is no decision but a leak. No catalog tells the two apart, so what does is the name of the column or of the value
that opens the row; where neither says anything, how many of the values that were tried open it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realtime_toolkit.verify.tables import Column

_SHARED = re.compile(
    r"publi[cs]|global|everyone|visib|shar(e|ing)|audience|listed|discover|template|preview|"
    r"(^|_|is)(open|live|link|listing|approved|active|featured|anonymous|demo|sample|official|system|default|broadcast|announc\w*)(_|$)|"
    r"privat|hidden|draft|secret|unlisted|confidential|internal|embargo",
    re.IGNORECASE,
)
"""What says that a row is for others, or in the negative that it is not."""
_LIFE = re.compile(r"delet|remov|archiv|trash|expir|revok|updated|created|modified", re.IGNORECASE)
"""What says where a row is in its life: never whom it is for."""
_EDITED = re.compile(r"edit|writ|collab|wiki|contribut|open", re.IGNORECASE)
"""What says that others may change a row."""
PUBLIC = re.compile(
    r"public|\bany(one|body)|\bevery(one|body)|any_?(one|body)|every_?(one|body)|world|visitor|guest|catalog|storefront|sitemap|"
    r"(viewable|visible|readable) (by|to|for) all",
    re.IGNORECASE,
)
"""What a policy's name says that opens a table on purpose. ``Enable read access for all users`` is Supabase's template and says nothing."""


@dataclass(frozen=True, slots=True)
class Door:
    """A column of a stranger's row that decides whether the row is reached."""

    column: Column
    opens: str | None
    """The value it has, an ordinary one: seeded, or the default."""
    others: tuple[str | None, ...]
    """Values tried, one of which at least keeps the row from being reached."""
    closing: tuple[str | None, ...]


def is_design(door: Door, *, writes: bool = False) -> bool:
    """Whether the schema says by this column that the row is for others; for writing, that others may change it."""
    said = f"{_words(door.column.name)} {_words(door.opens or '')}"
    if writes:
        return bool(_EDITED.search(said))
    if _LIFE.search(door.column.name):
        return False
    if _SHARED.search(_words(door.column.name)):
        return True
    if door.opens is None or set(door.closing) <= {None, ""}:
        return False  # filled or not: that says nothing of whom it is for
    named = any(_SHARED.search(_words(value)) for value in (door.opens, *(v for v in door.closing if v)))
    few = len(door.others) - len(door.closing) < len(door.closing)
    if door.column.base == "boolean":
        return door.column.default is None
    return named or (few and len(door.closing) > 1) or (few and door.column.kind == "e")


def opts_in(column: Column, value: str | None) -> bool:
    """Whether somebody has to turn it on: a flag that is off by default shares a row by a decision."""
    return column.base == "boolean" and value == "true" and not _LIFE.search(column.name)


def _words(name: str) -> str:
    """``isPublic`` as ``is_public``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()

"""What readers miss, as values: policies that let nobody in, raise or lose a row, as the probes found them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Blind:
    """A reader whom the policies of a table mean to let in and who sees nothing, for what they ask hides from him."""

    table: str
    policies: tuple[str, ...]
    hidden: tuple[str, ...]
    """Tables that the policies look into and of which he sees no row."""
    unless: str = ""
    """He sees it only as long as this column holds himself: ``public.classes.teacher_id``."""


@dataclass(frozen=True, slots=True)
class Barred:
    """Reading a table raises 42501 although the role may select from it: a policy asks what the role may not."""

    table: str
    policies: tuple[str, ...]
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Poison:
    """A value, or a token, with which reading raises."""

    table: str
    policies: tuple[str, ...]
    sqlstate: str
    column: str | None
    """``public.t.c`` whose value it is; ``None``: a token does it."""
    value: str
    """What raises: a made-up value, or what the token lacks."""
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gone:
    """A change of a state after which a row is out of its readers' sight and no event tells them."""

    table: str
    policies: tuple[str, ...]
    column: str
    """``public.t.c``; of a table that it refers to, where that decides."""
    value: str | None
    by: str
    """Who makes the change: a function, or a role."""
    readers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unlike:
    """Two spellings of one thing that are compared as they are."""

    table: str
    policies: tuple[str, ...]
    column: str
    why: str


@dataclass(frozen=True, slots=True)
class Missed:
    blind: tuple[Blind, ...] = ()
    barred: tuple[Barred, ...] = ()
    poison: tuple[Poison, ...] = ()
    gone: tuple[Gone, ...] = ()
    unlike: tuple[Unlike, ...] = ()
    bound: bool = False
    """Policies bind ourselves too, so that what they mean could not be told from what they let be seen."""

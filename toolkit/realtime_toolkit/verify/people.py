"""Who is in the seeded world, and what was made for them. Pure.

Alice and Bob share a tenant and are ordinary members of it; Carol has its highest role, where there are roles;
Mallory is in another one, where Trent is who Mallory deals with. Nobody owns what has no owner.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from realtime_toolkit.verify.values import NAMESPACE

Row = dict[str, str | None]
"""Column → value as text."""


class Who(StrEnum):
    ALICE = "alice"
    BOB = "bob"
    CAROL = "carol"
    MALLORY = "mallory"
    TRENT = "trent"
    NOBODY = "nobody"

    @property
    def tenant(self) -> str:
        return "b" if self in (Who.MALLORY, Who.TRENT) else "a"

    @property
    def user_id(self) -> str:
        return str(uuid.uuid5(NAMESPACE, self.value))


BESIDE = {Who.ALICE: Who.BOB, Who.BOB: Who.ALICE, Who.CAROL: Who.BOB, Who.MALLORY: Who.TRENT}
"""Who stands at the other end of a message, a friendship, a transfer."""
PEOPLE = (Who.ALICE, Who.BOB, Who.MALLORY)
"""Those who get a row in every table; Carol only gets what makes her the one with the highest role."""


@dataclass(slots=True)
class World:
    """What was seeded. ``failed`` says why a table has no row for somebody, in words."""

    rows: dict[tuple[str, Who], Row] = field(default_factory=dict)
    given: dict[tuple[str, Who], Row] = field(default_factory=dict)
    """What had to be given to make that row; the rest are defaults."""
    users: set[Who] = field(default_factory=set)
    """Those who could be made in auth.users."""
    around: dict[tuple[str, Who], Row] = field(default_factory=dict)
    """The same for tables that are not the user's own: storage.objects, …"""
    failed: dict[str, str] = field(default_factory=dict)
    script: list[str] = field(default_factory=list)
    """The same rows as INSERT statements with every value spelled out, for exports."""
    metadata: dict[Who, dict[str, Any]] = field(default_factory=dict)
    """``raw_user_meta_data`` that the triggers of auth.users were given; tokens repeat it."""
    mails: dict[Who, str] = field(default_factory=dict)
    now: int = 1_767_225_600
    """When everybody signed in, in seconds since 1970. 2026-01-01 wherever no policy asks, so that exports stay the same."""
    leading: frozenset[str] = frozenset()
    """Tables in which Carol has a higher role than Alice."""

    def mail(self, who: Who) -> str:
        """The address somebody signed up with."""
        return self.mails.get(who, f"{who.value}@probe.invalid")

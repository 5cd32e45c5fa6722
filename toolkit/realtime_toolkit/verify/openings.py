"""Policies that open what others keep, as findings. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime_toolkit.shown import shown
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Rule
from realtime_toolkit.verify.names import quoted

if TYPE_CHECKING:
    from realtime_toolkit.verify.trials import Opening, Walls

WAL001 = Rule(
    "WAL001",
    "walls",
    "A permissive policy that was meant to be restrictive",
    "Permissive policies are joined with OR: one that asks for a second factor, or that nobody is banned, takes nothing away; "
    "whoever satisfies it has every row.",
)
WAL002 = Rule(
    "WAL002",
    "walls",
    "To be signed in is taken for a right",
    "auth.role() = 'authenticated' is true of whoever has signed up.",
)
OPENED = (WAL001, WAL002)


def judge_walls(walls: Walls) -> tuple[CheckResult, ...]:
    """One verdict a rule."""
    undecided = shown("; ".join(f"{what}: {why}" for what, why in sorted(walls.undecided.items())))
    return tuple(
        CheckResult.of(rule, (_finding(o) for o in walls.openings if o.code == rule.code), undecided)
        for rule in OPENED
    )


def _finding(opening: Opening) -> Finding:
    name, table = quoted(opening.policy), opening.table
    what = ", ".join(sorted(command.value for command in opening.commands))
    if opening.code == WAL001.code:
        beside = " and ".join(map(quoted, opening.beside))
        detail = (
            f"The policy {name} on {table} is permissive: whoever satisfies it can {what} rows that {beside} keeps from them, "
            "for it is joined with OR; only a restrictive one takes away."
        )
    else:
        detail = f"The policy {name} on {table} asks only whether somebody is signed in: every user can {what} the rows of all others."
    return Finding.of(
        opening.code,
        Level.ERROR,
        f"policy {name} on {table}",
        detail,
        f"-- drop policy {name} on {table}; and create it as restrictive"
        if opening.code == WAL001.code
        else f"-- let the policy {name} on {table} ask whose the row is: (select auth.uid()) = …",
        f"{opening.code} {table} {opening.policy}",
    )

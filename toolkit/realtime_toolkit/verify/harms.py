"""What calling the functions came to, as findings. Pure."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from realtime_toolkit.shown import shown
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

    from realtime_toolkit.verify.trials import Called, Harm

FUN001 = Rule(
    "FUN001",
    "functions",
    "A SECURITY DEFINER function shows rows that its caller may not read",
    "It reads past every policy, and PostgREST lets clients call it.",
)
FUN002 = Rule(
    "FUN002",
    "functions",
    "A SECURITY DEFINER function changes rows that its caller may not change",
    "It writes past every policy, and PostgREST lets clients call it.",
)
CALLED = (FUN001, FUN002)


def judge_calls(called: Called) -> tuple[CheckResult, ...]:
    """One verdict a rule, one finding a function."""
    undecided = shown("; ".join(f"{name}: {why}" for name, why in sorted(called.undecided.items())))
    return (
        _verdict(FUN001, [h for h in called.harms if h.verb == "read"], undecided),
        _verdict(FUN002, [h for h in called.harms if h.verb == "change"], undecided),
    )


def _verdict(rule: Rule, harms: Iterable[Harm], undecided: str) -> CheckResult:
    by_function: dict[str, list[Harm]] = defaultdict(list)
    for harm in harms:
        by_function[harm.function].append(harm)
    return CheckResult.of(
        rule, (_finding(rule, those) for _, those in sorted(by_function.items())), undecided
    )


def _finding(rule: Rule, harms: list[Harm]) -> Finding:
    function = harms[0].function
    roles = " and ".join(sorted({harm.role for harm in harms}))
    tables = ", ".join(sorted({table for harm in harms for table in harm.tables}))
    how = "lets a stranger through" if harms[0].asks else "does not ask who calls"
    return Finding.of(
        rule.code,
        Level.ERROR,
        f"function {function}",
        f"{roles} can {harms[0].verb} rows of {tables} that belong to somebody else by calling {function}, which is "
        f"SECURITY DEFINER and {how}.",
        f"-- ask in its body whose the rows are, (select auth.uid()); or: revoke execute on function {function} "
        "from public, anon, authenticated;",
        f"{rule.code} {function}",
    )

"""What it means that readers miss something: findings about policies that let nobody in, raise, or lose a row. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from realtime_toolkit.shown import shown
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Outcome, Rule
from realtime_toolkit.verify.names import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from realtime_toolkit.verify.matrices import Matrices
    from realtime_toolkit.verify.missed import Gone, Missed

DLV002 = Rule(
    "DLV002",
    "delivery",
    "What a policy asks is hidden from whom it means to let in",
    "A subquery in a policy is under the policies of the tables in it: it finds nothing, and nobody receives anything.",
)
DLV003 = Rule(
    "DLV003",
    "delivery",
    "Reading a table raises 42501 for who may select from it",
    "A policy asks what its reader may not, and one raising policy loses Realtime's whole poll batch.",
)
DLV004 = Rule(
    "DLV004",
    "delivery",
    "A row leaves the sight of its readers without an event",
    "Realtime delivers an UPDATE to whoever sees the row after it: who saw it before is never told.",
)
DLV005 = Rule(
    "DLV005",
    "delivery",
    "One value, or one token, makes a policy raise",
    "One raising policy loses Realtime's whole poll batch, for every table and subscriber.",
)
DLV006 = Rule("DLV006", "delivery", "A policy compares two spellings of the same thing as they are")
RULES = (DLV002, DLV003, DLV004, DLV005, DLV006)

_CLOSED = frozenset({"RLS002", "RLS005", "RLS006", "RLS007", "RLS012", "RLS013", "PUB011"})
"""Where these say already why nobody reads."""
_RAISING = frozenset({"ACC003", "RLS005", "RLS006", "RLS007"})


_BOUND = "connected as a role that row level security binds: what policies mean cannot be told"


def judge_missed(matrices: Matrices, found: Iterable[Finding]) -> tuple[CheckResult, ...]:
    """One verdict a rule; what was ``found`` of a table is not told twice."""
    missed = matrices.missed
    if missed is None:
        return tuple(CheckResult(rule, Outcome.SKIPPED, reason="no table is published") for rule in RULES)
    told = tuple(found)
    objects = _codes(told, matrices)
    open_ones = sorted(name for name in matrices.failed if name in _published(matrices))
    reason = shown(f"for the same reasons as ACC001: {', '.join(open_ones)}" if open_ones else "")
    unheard = matrices.unheard
    return (
        CheckResult.of(DLV002, _blind(missed, objects), _BOUND if missed.bound else reason),
        CheckResult.of(
            DLV003, () if any(f.code == "ROL002" for f in told) else _barred(missed, objects), reason
        ),
        # A broadcast of the change would excuse it, and none was heard where none can be stored.
        CheckResult.of(DLV004, () if unheard else _gone(missed, objects), unheard or reason),
        CheckResult.of(DLV005, _poison(missed, objects), reason),
        CheckResult.of(DLV006, _unlike(missed), reason),
    )


def _published(matrices: Matrices) -> set[str]:
    return {table.name for table in matrices.tables.values() if table.published}


def _codes(found: Iterable[Finding], matrices: Matrices) -> dict[str, set[str]]:
    codes: dict[str, set[str]] = defaultdict(set)
    told = tuple(found)
    for name in matrices.tables:
        there = shown(name)
        codes[name] = {f.code for f in told if f.object == there or f.object.endswith(f" on {there}")}
    return codes


def _blind(missed: Missed, codes: Mapping[str, set[str]]) -> Iterator[Finding]:
    for blind in missed.blind:
        if codes.get(blind.table, set()) & _CLOSED:
            continue
        hidden = " and ".join(blind.hidden) or "the tables they look into"
        who = (
            f"whoever is not {blind.unless} of the rows that are asked for, too, sees nothing of it"
            if blind.unless
            else "nobody sees a row of it, and no change is ever delivered"
        )
        yield Finding.of(
            "DLV002",
            Level.ERROR,
            blind.table,
            f"T{_policies(blind.policies)[1:]} of {blind.table} should let people read by what is found in {hidden}, and the "
            f"policies there hide it from them: {who}.",
            "-- ask in a function that RLS does not apply to (language sql stable security definer set search_path = ''), "
            f"or let people see their own rows of {hidden}",
            f"DLV002 {blind.table} {blind.unless}".rstrip(),
        )


def _barred(missed: Missed, codes: Mapping[str, set[str]]) -> Iterator[Finding]:
    for barred in missed.barred:
        if codes.get(barred.table, set()) & {"RLS005", "RLS001", "PUB011"}:
            continue
        roles = " and ".join(barred.roles)
        yield Finding.of(
            "DLV003",
            Level.ERROR,
            barred.table,
            f"Reading {barred.table} as {roles} raises 42501: by {_policies(barred.policies)} a function or view is asked for what "
            f"{roles} may not select; nobody receives anything, and Realtime loses the whole batch.",
            "-- let the function run with its owner's rights: alter function … security definer set search_path = '';",
            f"DLV003 {barred.table}",
        )


def _gone(missed: Missed, codes: Mapping[str, set[str]]) -> Iterator[Finding]:
    by_table: dict[tuple[str, str], Gone] = {}
    for gone in missed.gone:
        if any(code.startswith("WAL") for code in codes.get(gone.table, ())):
            continue  # what its policies were meant to do is open
        by_table.setdefault((gone.table, gone.column), gone)
    for gone in by_table.values():
        value = (
            "is set" if gone.value and re.match(r"\d{4}-", gone.value) else f"becomes {gone.value or 'null'}"
        )
        yield Finding.of(
            "DLV004",
            Level.WARNING,
            gone.table,
            f"When {gone.column} {value}, by {gone.by}, rows of {gone.table} leave the sight of {' and '.join(gone.readers)} "
            f"({_policies(gone.policies)}), and no event tells who is subscribed.",
            "-- let the readers see the row in that state, too, and leave it out in the client; or tell them in a trigger: "
            "realtime.send(…) to a topic that they may join",
            f"DLV004 {gone.table} {gone.column}",
        )


def _poison(missed: Missed, codes: Mapping[str, set[str]]) -> Iterator[Finding]:
    for poison in missed.poison:
        if codes.get(poison.table, set()) & _RAISING:
            continue
        what = f"a row whose {poison.column} is {poison.value!r}" if poison.column else poison.value
        yield Finding.of(
            "DLV005",
            Level.ERROR,
            poison.table,
            f"With {what}, every read of {poison.table} as {' and '.join(poison.roles)} raises {poison.sqlstate} "
            f"({_policies(poison.policies)}), and Realtime loses the whole batch.",
            "-- compare as text instead of casting, cast only what a CASE or CHECK has looked at, or nullif(…, '') a claim",
            f"DLV005 {poison.table} {poison.column or 'token'}",
        )


def _unlike(missed: Missed) -> Iterator[Finding]:
    for unlike in missed.unlike:
        yield Finding.of(
            "DLV006",
            Level.ERROR,
            unlike.table,
            f"By {_policies(unlike.policies)} of {unlike.table}, {unlike.column} is compared as it stands, and {unlike.why}: "
            "who should see the row does not.",
            f"-- compare lower({unlike.column.rsplit('.', 1)[-1]}) with lower(…), use citext or uuid, or let a CHECK keep one spelling",
            f"DLV006 {unlike.table} {unlike.column}",
        )


def _policies(names: Sequence[str]) -> str:
    return f"{'the policies' if len(names) != 1 else 'the policy'} {', '.join(map(quoted, names))}"

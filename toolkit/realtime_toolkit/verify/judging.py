"""What the matrices mean: findings, unless a static check has told the same already. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from realtime_toolkit.shown import shown
from realtime_toolkit.verify.access import Command, Whose
from realtime_toolkit.verify.delivery import Event
from realtime_toolkit.verify.disclosed import COL004, judge_disclosed
from realtime_toolkit.verify.harms import CALLED, judge_calls
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Outcome, Rule
from realtime_toolkit.verify.openings import OPENED, judge_walls
from realtime_toolkit.verify.probing import Answer
from realtime_toolkit.verify.strangers import ACC001, ACC002, Told, readable, writable
from realtime_toolkit.verify.wrongs import WRONGS, causes, wrongs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from realtime_toolkit.verify.matrices import Matrices
    from realtime_toolkit.verify.tables import Table

ACC003 = Rule(
    "ACC003",
    "access",
    "A policy raises",
    "One raising policy loses Realtime's whole poll batch, for every table and subscriber.",
)
DLV001 = Rule("DLV001", "delivery", "A user who may read a row does not receive its changes")
CHN001 = Rule("CHN001", "private-channels", "A user may use a private topic of another tenant or user")
DYNAMIC = (ACC001, ACC002, ACC003, *WRONGS, DLV001, CHN001, *CALLED, *OPENED, COL004)

# What these have said the matrices do not say again.
_RAISING = frozenset({"RLS005", "RLS006", "RLS007"})
_UNDELIVERED = frozenset({"PUB002", "PUB008", "PUB009", "PUB011", "RLS005", "RLS006", "RLS007"})
_PUBLIC_TOPIC = re.compile(
    r"(public|global|lobby|open|everyone|everybody|all|announcements?|news|status)\b", re.I
)
"""What the name of a topic says is for everybody."""
_OPEN_CHANNELS = frozenset({"MSG001", "MSG002", "MSG003"})


def judge(matrices: Matrices, found: Iterable[Finding]) -> tuple[CheckResult, ...]:
    """One verdict a rule. What the static checks ``found`` on a table is not told twice."""
    walls = judge_walls(matrices.walls)
    tables, told = matrices.tables, (*found, *(finding for check in walls for finding in check.findings))
    codes = codes_by_table(told, tables)
    tried, writes = _tried(matrices, codes), causes(matrices, Told(told))
    same = "for the same reasons as ACC001" if tried.outcome is Outcome.UNDECIDED else tried.reason
    delivered = (
        _published(matrices) if tried.outcome is not Outcome.UNDECIDED else replace(tried, reason=same)
    )
    return (
        _verdict(ACC001, readable(matrices, told), tried),
        _verdict(
            ACC002,
            (*writable(matrices, told), *wrongs(writes, "ACC002")),
            replace(tried, reason=same),
        ),
        _verdict(ACC003, _raising(matrices, codes), replace(tried, reason=same)),
        *(_verdict(rule, wrongs(writes, rule.code), replace(tried, reason=same)) for rule in WRONGS),
        _verdict(DLV001, _undelivered(matrices, codes), delivered),
        _verdict(CHN001, _strange_topics(matrices, codes), _joined(matrices)),
        *judge_calls(matrices.called),
        *walls,
        judge_disclosed(matrices.disclosed),
    )


@dataclass(frozen=True, slots=True)
class _Tried:
    """What a check without a finding comes to: a pass only where all of it was tried."""

    outcome: Outcome = Outcome.PASS
    reason: str = ""


_TRIED = _Tried()


def _tried(matrices: Matrices, codes: Mapping[str, frozenset[str]]) -> _Tried:
    reason = _undecided(matrices)
    if reason:
        return _Tried(Outcome.UNDECIDED, reason)
    if not matrices.access:
        return _Tried(Outcome.SKIPPED, "there is no table that a client role can reach")
    return _TRIED


def codes_by_table(found: Iterable[Finding], tables: Mapping[str, Table]) -> dict[str, frozenset[str]]:
    """Codes by the table a finding is about; ``""`` for those about none of them."""
    codes: dict[str, set[str]] = defaultdict(set)
    for finding in found:
        codes[table_of(finding.object, tables)].add(finding.code)
    return {name: frozenset(those) for name, those in codes.items()}


def table_of(name: str, tables: Collection[str]) -> str:
    """The table in a finding's object (``policy "p" on public.t``, ``public.t.column``); ``""`` without one."""
    for table in (*tables, "realtime.messages"):
        there = shown(table)  # names with a blank or a dot are quoted, so none of these is the end of another
        if name == there or name.startswith(f"{there}.") or name.endswith(f" on {there}"):
            return table
    return ""


def _verdict(rule: Rule, findings: Iterable[Finding], tried: _Tried) -> CheckResult:
    found = tuple(findings)
    return CheckResult(rule, Outcome.FAIL if found else tried.outcome, found, reason=tried.reason)


def _undecided(matrices: Matrices) -> str:
    failed = matrices.failed
    parts = [f"{table}: {why}" for table, why in sorted(failed.items())]
    open_cells: dict[str, set[str]] = defaultdict(set)
    for cell in matrices.access:
        # No policy binds service_role: what befell it says nothing of access.
        undecided = cell.result.answer is Answer.UNDECIDED and cell.role != "service_role"
        if undecided and cell.table not in failed:
            open_cells[cell.table].add(
                f"{cell.command.value}{f' {cell.result.sqlstate}' if cell.result.sqlstate else ''}"
            )
    parts += [f"{table}: {', '.join(sorted(which))}" for table, which in sorted(open_cells.items())]
    return shown("; ".join(parts))


def _raising(matrices: Matrices, codes: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for cell in matrices.access:
        raised = cell.command is Command.SELECT and cell.result.answer is Answer.RAISES
        if raised and not codes.get(cell.table, frozenset()) & _RAISING:
            found[cell.table, cell.result.sqlstate].add(cell.role)
    for (name, sqlstate), roles in found.items():
        yield Finding.of(
            "ACC003",
            Level.ERROR,
            name,
            f"Reading {name} as {' or '.join(sorted(roles))} raises {sqlstate}: Realtime loses the whole batch.",
            f"-- make the SELECT policies of {name} false instead of raising: casts of claims, division, functions",
            f"ACC003 {name} {sqlstate}",
        )


def _undelivered(matrices: Matrices, codes: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    readable = {
        (c.table, c.role)
        for c in matrices.access
        if c.whose is Whose.OWN and c.command is Command.SELECT and c.result.answer is Answer.ALLOW
    }
    lost: dict[str, set[str]] = defaultdict(set)
    for d in matrices.deliveries:
        missing = d.whose is Whose.OWN and not d.undecided and (d.columns is None or d.error)
        explained = (codes.get(d.table, frozenset()) | codes.get("", frozenset())) & _UNDELIVERED
        if missing and not explained and (d.table, d.role) in readable and d.event is not Event.DELETE:
            lost[d.table].add(f"{d.event.value} to {d.role}{f' ({d.error})' if d.error else ''}")
    for name, what in lost.items():
        yield Finding.of(
            "DLV001",
            Level.ERROR,
            name,
            f"Rows of {name} can be read, but these changes are not delivered: {', '.join(sorted(what))}.",
            f"-- see the delivery lines of {name} in the snapshot",
            f"DLV001 {name}",
        )


def _published(matrices: Matrices) -> _Tried:
    """What is to be said of delivery besides: nothing is published, or what was seen of a change decides nothing."""
    open_ones = sorted({d.table for d in matrices.deliveries if d.undecided and d.whose is Whose.OWN})
    if open_ones:
        return _Tried(Outcome.UNDECIDED, shown(f"who sees a row after an UPDATE: {', '.join(open_ones)}"))
    return _TRIED


def _joined(matrices: Matrices) -> _Tried:
    """What is to be said of private channels that no topic says."""
    if not matrices.channels:
        return _Tried(Outcome.SKIPPED, "there is no realtime.messages")
    if matrices.unheard:
        return _Tried(Outcome.UNDECIDED, matrices.unheard)
    open_ones = sorted(
        {
            f"{c.topic} {c.result.sqlstate}".strip()
            for c in matrices.channels
            if c.result.answer is Answer.UNDECIDED
        }
    )
    return _Tried(Outcome.UNDECIDED, shown(", ".join(open_ones))) if open_ones else _TRIED


def _strange_topics(matrices: Matrices, codes: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    if codes.get("realtime.messages", frozenset()) & _OPEN_CHANNELS:
        return
    found: dict[str, set[str]] = defaultdict(set)
    open_rows = {
        (c.table, c.role) for c in matrices.access if c.reaches_a_stranger and c.command is Command.SELECT
    }
    own = {c.topic for c in matrices.channels if c.whose is Whose.OWN and c.result.answer is Answer.ALLOW}
    for cell in matrices.channels:
        anywhere = cell.topic == "(any other topic)"
        if cell.role == "service_role" or cell.result.answer is not Answer.ALLOW:
            continue
        if _PUBLIC_TOPIC.match(cell.topic) or (_named_after(cell.topic), cell.role) in open_rows:
            continue
        if anywhere or (cell.whose is Whose.OTHER_TENANT and cell.topic in own):
            found[cell.topic].add(f"{cell.action} {cell.extension} as {cell.role}")
    for topic, what in found.items():
        yield Finding.of(
            "CHN001",
            Level.ERROR,
            f"private topic {topic}",
            f"A stranger may {', '.join(sorted(what))} on the private topic {topic}.",
            "-- see the policies of realtime.messages: they must ask whose the topic is",
            f"CHN001 {topic}",
        )


def _named_after(topic: str) -> str:
    """The table by whose rows a topic is named: ``room:{public.rooms.id}``."""
    return topic.rpartition("{")[2].rpartition(".")[0]

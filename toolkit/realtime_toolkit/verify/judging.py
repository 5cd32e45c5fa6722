"""What the matrices mean: findings, unless a static check has told the same already. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING

from realtime_toolkit.shown import shown
from realtime_toolkit.verify.access import Command, Whose
from realtime_toolkit.verify.delivery import Event
from realtime_toolkit.verify.disclosed import COL004, judge_disclosed
from realtime_toolkit.verify.harms import CALLED, judge_calls
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Outcome, Rule
from realtime_toolkit.verify.openings import OPENED, judge_walls
from realtime_toolkit.verify.probing import Answer

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from realtime_toolkit.verify.access import Cell
    from realtime_toolkit.verify.matrices import Matrices
    from realtime_toolkit.verify.tables import Table

ACC001 = Rule("ACC001", "access", "A user can read rows of another tenant or user")
ACC002 = Rule("ACC002", "access", "A user can write rows of another tenant or user")
ACC003 = Rule(
    "ACC003",
    "access",
    "A policy raises",
    "One raising policy loses Realtime's whole poll batch, for every table and subscriber.",
)
DLV001 = Rule("DLV001", "delivery", "A user who may read a row does not receive its changes")
CHN001 = Rule("CHN001", "private-channels", "A user may use a private topic of another tenant or user")
UPD010 = Rule(
    "UPD010", "updated_at", "An UPDATE does not move updated_at forward, although a trigger seems to"
)
DYNAMIC = (ACC001, ACC002, ACC003, DLV001, CHN001, UPD010, *CALLED, *OPENED, COL004)

# Where these say already that a table is open, the matrix adds nothing.
_OPEN = frozenset({"RLS001", "RLS010", "RLS011", "RLS012", "PUB010"})
_RAISING = frozenset({"RLS005", "RLS006", "RLS007"})
_UNDELIVERED = frozenset({"PUB002", "PUB008", "PUB009", "PUB011", "RLS005", "RLS006", "RLS007"})
_STALE = frozenset({"UPD002", "UPD005", "UPD006", "UPD007", "UPD008", "TRK001", "PUB007", "PUB008"})
_PUBLIC_TOPIC = re.compile(
    r"(public|global|lobby|open|everyone|everybody|all|announcements?|news|status)\b", re.I
)
"""What the name of a topic says is for everybody."""
_OPEN_CHANNELS = frozenset({"MSG001", "MSG002", "MSG003"})


def judge(matrices: Matrices, found: Iterable[Finding]) -> tuple[CheckResult, ...]:
    """One verdict a rule. What the static checks ``found`` on a table is not told twice."""
    tables, undecided = matrices.tables, _undecided(matrices)
    same = "for the same reasons as ACC001" if undecided else ""
    codes = _codes_by_table(found, tables)
    return (
        _verdict(ACC001, _readable(matrices, codes, tables), undecided),
        _verdict(ACC002, _writable(matrices, codes, tables), same),
        _verdict(ACC003, _raising(matrices, codes), same),
        _verdict(DLV001, _undelivered(matrices, codes), same),
        _verdict(CHN001, _strange_topics(matrices, codes), ""),
        _verdict(UPD010, _unmoved_findings(matrices, codes), ""),
        *judge_calls(matrices.called),
        *judge_walls(matrices.walls),
        judge_disclosed(matrices.disclosed),
    )


def _codes_by_table(found: Iterable[Finding], tables: Mapping[str, Table]) -> dict[str, frozenset[str]]:
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


def _verdict(rule: Rule, findings: Iterable[Finding], undecided: str) -> CheckResult:
    found = tuple(findings)
    if found:
        return CheckResult(rule, Outcome.FAIL, found, reason=undecided)
    return CheckResult(rule, Outcome.UNDECIDED if undecided else Outcome.PASS, reason=undecided)


def _undecided(matrices: Matrices) -> str:
    parts = [f"{table}: {why}" for table, why in sorted(matrices.failed.items())]
    open_cells: dict[str, set[str]] = defaultdict(set)
    for cell in matrices.access:
        if cell.result.answer is Answer.UNDECIDED:
            open_cells[cell.table].add(
                f"{cell.command.value}{f' {cell.result.sqlstate}' if cell.result.sqlstate else ''}"
            )
    parts += [f"{table}: {', '.join(sorted(which))}" for table, which in sorted(open_cells.items())]
    return shown("; ".join(parts))


def _readable(
    matrices: Matrices, codes: Mapping[str, frozenset[str]], tables: Mapping[str, Table]
) -> Iterator[Finding]:
    for cell in matrices.access:
        table = tables[cell.table]
        if not _strange(cell, matrices, codes) or cell.command is not Command.SELECT:
            continue
        if cell.role in table.public_read or not table.personal_read:
            continue  # open to everybody on purpose
        literal = "'" + cell.table.replace("'", "''") + "'"
        yield Finding.of(
            "ACC001",
            Level.ERROR,
            cell.table,
            f"{cell.role} can read rows of {cell.table} that belong to another tenant or user, and so receives "
            "their changes; the table's policies ask who is reading, and let a stranger through.",
            f"-- see the SELECT policies of {cell.table}: select policyname, qual from pg_policies "
            f"where format('%I.%I', schemaname, tablename) = {literal};",
            f"ACC001 {cell.table} {cell.role}",
        )


def _writable(
    matrices: Matrices, codes: Mapping[str, frozenset[str]], tables: Mapping[str, Table]
) -> Iterator[Finding]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for cell in matrices.access:
        table = tables[cell.table]
        personal = table.personal_read or any("auth." in policy.text for policy in table.policies)
        if personal and _strange(cell, matrices, codes) and cell.command is not Command.SELECT:
            found[cell.table, cell.role].append(cell.command.value)
    for (name, role), commands in found.items():
        yield Finding.of(
            "ACC002",
            Level.ERROR,
            name,
            f"{role} can {', '.join(commands)} rows of {name} in the name of another tenant or user.",
            f"-- see the policies of {name} for {', '.join(commands)}: WITH CHECK and USING must ask whose the row is",
            f"ACC002 {name} {role} {' '.join(commands)}",
        )


def _strange(cell: Cell, matrices: Matrices, codes: Mapping[str, frozenset[str]]) -> bool:
    governed = (cell.table, cell.role, cell.command) in matrices.governed
    opened = matrices.walls.opens(cell.table, cell.command)
    return (
        cell.reaches_a_stranger
        and not governed
        and not opened
        and not codes.get(cell.table, frozenset()) & _OPEN
    )


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


def _strange_topics(matrices: Matrices, codes: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    if codes.get("realtime.messages", frozenset()) & _OPEN_CHANNELS:
        return
    found: dict[str, set[str]] = defaultdict(set)
    own = {c.topic for c in matrices.channels if c.whose is Whose.OWN and c.result.answer is Answer.ALLOW}
    for cell in matrices.channels:
        anywhere = cell.topic == "(any other topic)"
        if cell.role == "service_role" or cell.result.answer is not Answer.ALLOW:
            continue
        if _PUBLIC_TOPIC.match(cell.topic):
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


def _unmoved_findings(matrices: Matrices, codes: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    for table, kept, column in matrices.unmoved:
        if not codes.get(table, frozenset()) & _STALE:
            yield Finding.of(
                "UPD010",
                Level.ERROR,
                f"{table}.{kept}",
                f"{table}.{kept} is not strictly increasing: the second of two updates of {column} in one transaction "
                "left it where it was.",
                f"-- in its trigger: new.{kept} := greatest(clock_timestamp(), old.{kept} + interval '1 microsecond');",
                f"UPD010 {table}.{kept}",
            )

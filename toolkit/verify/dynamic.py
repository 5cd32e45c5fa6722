"""Run the matrices in one transaction that is always rolled back, and judge them."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from toolkit.verify.access import Access, Cell, Command, Whose
from toolkit.verify.catalogue import facts
from toolkit.verify.channels import ChannelCell, Channels, find_topics
from toolkit.verify.delivery import Deliveries, Delivery, Event
from toolkit.verify.model import CheckResult, Finding, Level, Outcome, Rule
from toolkit.verify.ownership import Belonging, find_belonging
from toolkit.verify.probing import Answer, Result, attempt
from toolkit.verify.seeding import Seeder, relation
from toolkit.verify.static import settings, snapshot
from toolkit.verify.tables import Model, read_model

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from toolkit.verify.config import Config
    from toolkit.verify.static import Connection
    from toolkit.verify.tables import Table

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
DYNAMIC = (ACC001, ACC002, ACC003, DLV001, CHN001, UPD010)

# Where these say already that a table is open, the matrix adds nothing.
_OPEN = frozenset({"RLS001", "RLS010", "RLS011", "RLS012", "PUB010"})
_RAISING = frozenset({"RLS005", "RLS006", "RLS007"})
_UNDELIVERED = frozenset({"PUB002", "PUB008", "PUB009", "PUB011", "RLS005", "RLS006", "RLS007"})
_STALE = frozenset({"UPD002", "UPD005", "UPD006", "UPD007", "UPD008", "TRK001", "PUB007", "PUB008"})
_OPEN_CHANNELS = frozenset({"MSG001", "MSG002", "MSG003"})


@dataclass(frozen=True, slots=True)
class Matrices:
    tables: Mapping[str, Table]
    """All of the user's own, published or not."""
    access: tuple[Cell, ...]
    deliveries: tuple[Delivery, ...]
    channels: tuple[ChannelCell, ...]
    unmoved: tuple[tuple[str, str], ...]
    """``(table, column)`` of an updated_at that a second UPDATE did not move forward."""
    failed: Mapping[str, str]
    """Table → why no row could be made."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What one transaction with seeded rows offers, for the matrices and for the leak hunt."""

    connection: Connection
    model: Model
    belonging: Belonging
    seeder: Seeder
    access: Access


@contextmanager
def staged(
    connection: Connection, config: Config, *, schemas: Sequence[str] = (), seed: bool = True
) -> Iterator[Stage]:
    """Seeded rows in a transaction that is rolled back whatever happens."""
    with snapshot(connection):
        settings(connection, schemas, config.expected)
        model = read_model(connection, facts())
    with connection.transaction(force_rollback=True):
        connection.execute("set local statement_timeout = '15s'")
        connection.execute("set local lock_timeout = '3s'")
        belonging = find_belonging(model, config)
        seeder = Seeder(connection, model, belonging)
        if seed:
            seeder.seed()
        yield Stage(
            connection, model, belonging, seeder, Access(connection, model, belonging, seeder, config)
        )


def cannot_act(connection: Connection) -> str:
    """Why the matrices cannot be run over this connection; empty if they can."""
    for role in ("anon", "authenticated", "service_role"):
        try:
            with connection.transaction(force_rollback=True):
                connection.execute("select pg_catalog.set_config('role', %s, true)", (role,))
        except psycopg.Error as error:
            return f"cannot act as {role} ({error.sqlstate})"
    row = connection.execute("select pg_catalog.pg_is_in_recovery()").fetchone()
    return "the server is a read-only standby" if row and row[0] else ""


def run_matrices(connection: Connection, config: Config, *, schemas: Sequence[str] = ()) -> Matrices:
    """Access, delivery and private channels of all published tables."""
    with staged(connection, config, schemas=schemas) as stage:
        deliveries = Deliveries(connection, stage.model, stage.access)
        access: list[Cell] = []
        delivered: list[Delivery] = []
        for table in stage.model.published:
            access += stage.access.cells(table)
            delivered += deliveries.of(table)
        channels: list[ChannelCell] = []
        if stage.model.has_messages:
            topics = find_topics(stage.model, stage.belonging, stage.seeder.world, config)
            channels += Channels(connection, stage.belonging, stage.seeder.world, config).cells(topics)
        return Matrices(
            dict(stage.model.tables),
            tuple(access),
            tuple(delivered),
            tuple(channels),
            tuple(_unmoved(stage)),
            _failed(stage),
        )


def _failed(stage: Stage) -> dict[str, str]:
    wanted = {table.name for table in stage.model.published}
    return {name: why for name, why in stage.seeder.world.failed.items() if name in wanted}


def _unmoved(stage: Stage) -> Iterator[tuple[str, str]]:
    """Columns named updated_at that the second of two updates in one transaction left where they were."""
    for table in stage.model.published:
        kept = [c.name for c in table.columns if c.name == "updated_at" and c.base.startswith("timestamp")]
        whose = stage.access.rows_of(table)
        if kept and whose and not _moves(stage, table, whose[0], kept[0]):
            yield table.name, kept[0]


_CHANGES = {
    "boolean": "not {0}",
    "text": "{0} || '.'",
    "character varying": "overlay({0} placing 'y' from 1 for 1)",
    **dict.fromkeys(("smallint", "integer", "bigint", "numeric", "real", "double precision"), "{0} + 1"),
}
"""How to change a value twice, by type; a trigger may fire for real changes only."""


def _moves(stage: Stage, table: Table, whose: Whose, kept: str) -> bool:
    """True also where no real change can be made: then it is not for this check to say."""
    probe = stage.access.probe(table, whose, Command.SELECT, "service_role")
    row = stage.access.row(table, whose)
    special = {
        *table.key,
        *table.partition_key,
        kept,
        *(n for key in table.foreign_keys for n in key.columns),
    }
    for column in table.columns:
        if probe is None or row is None or row.get(column.name) is None or column.base not in _CHANGES:
            continue
        if (
            column.name in special
            or column.generated
            or column.name in stage.belonging.users.get(table.name, ())
        ):
            continue
        change = sql.SQL(_CHANGES[column.base]).format(sql.Identifier(column.name))  # type: ignore[arg-type]
        query = sql.SQL("update {} set {} = {} where {} returning {}").format(
            relation(table),
            sql.Identifier(column.name),
            change,
            stage.access.where(table, row),
            sql.Identifier(kept),
        )
        times = _twice(stage.connection, query)
        if times is not None:
            return times[1] > times[0]
    return True


def _twice(connection: Connection, query: sql.Composed) -> tuple[datetime, datetime] | None:
    try:
        with connection.transaction(force_rollback=True):
            first, second = connection.execute(query).fetchone(), connection.execute(query).fetchone()
    except psycopg.Error:
        return None
    if first is None or second is None or first[0] is None or second[0] is None:
        return None
    return first[0], second[0]


# -- judging -----------------------------------------------------------------------------------------------


def judge(matrices: Matrices, found: Iterable[Finding]) -> tuple[CheckResult, ...]:
    """One verdict a rule. What the static checks ``found`` on a table is not told twice."""
    tables, undecided = matrices.tables, _undecided(matrices)
    codes = _codes_by_table(found, tables)
    return (
        _verdict(ACC001, _readable(matrices, codes, tables), undecided),
        _verdict(ACC002, _writable(matrices, codes, tables), undecided),
        _verdict(ACC003, _raising(matrices, codes), undecided),
        _verdict(DLV001, _undelivered(matrices, codes), undecided),
        _verdict(CHN001, _strange_topics(matrices, codes), ""),
        _verdict(UPD010, _unmoved_findings(matrices, codes), ""),
    )


def _codes_by_table(found: Iterable[Finding], tables: Mapping[str, Table]) -> dict[str, frozenset[str]]:
    """Codes by the table a finding is about; ``""`` for those about none of them."""
    codes: dict[str, set[str]] = defaultdict(set)
    for finding in found:
        name = finding.object.rsplit(" on ", 1)[-1]
        table = next(
            (
                t
                for t in (name, name.rpartition(".")[0], "realtime.messages")
                if t in tables or t == name == "realtime.messages"
            ),
            "",
        )
        codes[table].add(finding.code)
    return {name: frozenset(those) for name, those in codes.items()}


def _verdict(rule: Rule, findings: Iterable[Finding], undecided: str) -> CheckResult:
    found = tuple(findings)
    if found:
        return CheckResult(rule, Outcome.FAIL, found, reason=undecided)
    return CheckResult(rule, Outcome.UNDECIDED if undecided else Outcome.PASS, reason=undecided)


def _undecided(matrices: Matrices) -> str:
    parts = [f"no row could be made in {table}: {why}" for table, why in sorted(matrices.failed.items())]
    open_cells: dict[str, set[str]] = defaultdict(set)
    for cell in matrices.access:
        if cell.result.answer is Answer.UNDECIDED:
            open_cells[cell.table].add(
                f"{cell.command.value}{f' {cell.result.sqlstate}' if cell.result.sqlstate else ''}"
            )
    parts += [f"{table}: {', '.join(sorted(which))}" for table, which in sorted(open_cells.items())]
    return "; ".join(parts)


def _readable(
    matrices: Matrices, codes: Mapping[str, frozenset[str]], tables: Mapping[str, Table]
) -> Iterator[Finding]:
    for cell in matrices.access:
        table = tables[cell.table]
        if not _strange(cell, codes) or cell.command is not Command.SELECT:
            continue
        if cell.role in table.public_read or not table.personal_read:
            continue  # open to everybody on purpose
        yield Finding(
            "ACC001",
            Level.ERROR,
            cell.table,
            f"{cell.role} can read rows of {cell.table} that belong to another tenant or user, and so receives "
            "their changes; the table's policies ask who is reading, and let a stranger through.",
            f"-- see the SELECT policies of {cell.table}: select policyname, qual from pg_policies "
            f"where format('%I.%I', schemaname, tablename) = '{cell.table}';",
            f"ACC001 {cell.table} {cell.role}",
        )


def _writable(
    matrices: Matrices, codes: Mapping[str, frozenset[str]], tables: Mapping[str, Table]
) -> Iterator[Finding]:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for cell in matrices.access:
        table = tables[cell.table]
        if _strange(cell, codes) and cell.command is not Command.SELECT:
            if table.personal_read or any("auth." in policy.text for policy in table.policies):
                found[cell.table, cell.role].append(cell.command.value)
    for (name, role), commands in found.items():
        yield Finding(
            "ACC002",
            Level.ERROR,
            name,
            f"{role} can {', '.join(commands)} rows of {name} in the name of another tenant or user.",
            f"-- see the policies of {name} for {', '.join(commands)}: WITH CHECK and USING must ask whose the row is",
            f"ACC002 {name} {role} {' '.join(commands)}",
        )


def _strange(cell: Cell, codes: Mapping[str, frozenset[str]]) -> bool:
    return (
        cell.whose is Whose.OTHER_TENANT
        and cell.role != "service_role"
        and cell.result.answer is Answer.ALLOW
        and not codes.get(cell.table, frozenset()) & _OPEN
    )


def _raising(matrices: Matrices, codes: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for cell in matrices.access:
        raised = cell.command is Command.SELECT and cell.result.answer is Answer.RAISES
        if raised and not codes.get(cell.table, frozenset()) & _RAISING:
            found[cell.table, cell.result.sqlstate].add(cell.role)
    for (name, sqlstate), roles in found.items():
        yield Finding(
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
        if missing and (d.table, d.role) in readable and d.event is not Event.DELETE:
            if not (codes.get(d.table, frozenset()) | codes.get("", frozenset())) & _UNDELIVERED:
                lost[d.table].add(f"{d.event.value} to {d.role}{f' ({d.error})' if d.error else ''}")
    for name, what in lost.items():
        yield Finding(
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
        if anywhere or (cell.whose is Whose.OTHER_TENANT and cell.topic in own):
            found[cell.topic].add(f"{cell.action} {cell.extension} as {cell.role}")
    for topic, what in found.items():
        yield Finding(
            "CHN001",
            Level.ERROR,
            f"private topic {topic}",
            f"A stranger may {', '.join(sorted(what))} on the private topic {topic}.",
            "-- see the policies of realtime.messages: they must ask whose the topic is",
            f"CHN001 {topic}",
        )


def _unmoved_findings(matrices: Matrices, codes: Mapping[str, frozenset[str]]) -> Iterator[Finding]:
    for table, column in matrices.unmoved:
        if not codes.get(table, frozenset()) & _STALE:
            yield Finding(
                "UPD010",
                Level.ERROR,
                f"{table}.{column}",
                f"{table}.{column} is not strictly increasing: the second of two updates in one transaction left it "
                "where it was.",
                f"-- in its trigger: new.{column} := greatest(clock_timestamp(), old.{column} + interval '1 microsecond');",
                f"UPD010 {table}.{column}",
            )


__all__ = [
    "DYNAMIC",
    "Matrices",
    "Result",
    "Stage",
    "attempt",
    "cannot_act",
    "judge",
    "relation",
    "run_matrices",
    "staged",
]

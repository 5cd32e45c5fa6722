"""Run the matrices in one transaction that is always rolled back, and judge them."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from realtime_toolkit.verify.access import Cell, Command, Probe, Whose
from realtime_toolkit.verify.calling import call_functions
from realtime_toolkit.verify.catalogue import facts
from realtime_toolkit.verify.channels import ChannelCell, Channels, find_topics
from realtime_toolkit.verify.delivery import Deliveries, Delivery
from realtime_toolkit.verify.disclosed import find_disclosed
from realtime_toolkit.verify.leaders import Leaders
from realtime_toolkit.verify.matrices import Matrices
from realtime_toolkit.verify.probing import Answer, attempt
from realtime_toolkit.verify.seeding import Who, relation
from realtime_toolkit.verify.sending import broadcasts
from realtime_toolkit.verify.sent import Broadcasts
from realtime_toolkit.verify.session import settings, snapshot
from realtime_toolkit.verify.sharing import Door, is_design
from realtime_toolkit.verify.stage import Stage, staged
from realtime_toolkit.verify.tables import read_model
from realtime_toolkit.verify.variation import Change, is_free, single_changes, update
from realtime_toolkit.verify.walls import find_openings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import datetime

    from realtime_toolkit.verify.config import Config
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Table


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


def table_names(connection: Connection, schemas: Sequence[str] = ()) -> frozenset[str]:
    """All tables of the user's own."""
    with snapshot(connection):
        settings(connection, schemas)
        return frozenset(read_model(connection, facts()).tables)


def run_matrices(
    connection: Connection, config: Config, *, schemas: Sequence[str] = (), alone: bool = False
) -> Matrices:
    """Access to all that clients can reach, delivery of what is published, and private channels."""
    with staged(connection, config, schemas=schemas, alone=alone) as stage:
        deliveries = Deliveries(connection, stage.model, stage.access)
        access: list[Cell] = []
        delivered: list[Delivery] = []
        for table in stage.model.reachable:
            access += stage.access.cells(table)
        led = _led(stage, access, config)
        governed = frozenset(_governed(stage, access))
        access += [cell for cells in led.values() for cell in cells]
        for table in stage.model.published:
            delivered += deliveries.of(table)
        channels: list[ChannelCell] = []
        sent: Broadcasts | None = None
        if stage.model.has_messages:
            topics = find_topics(stage.model, stage.belonging, stage.seeder.world, config)
            private = Channels(connection, stage.belonging, stage.seeder.world, config)
            channels += private.cells(topics)
            sent = broadcasts(stage, private)
        return Matrices(
            tables=dict(stage.model.tables),
            access=tuple(access),
            deliveries=tuple(delivered),
            channels=tuple(channels),
            unmoved=tuple(_unmoved(stage)),
            governed=governed,
            failed=_failed(stage, access, led),
            moving=stage.moving,
            ways=dict(_ways(stage, access)),
            named=frozenset(t.name for t in stage.model.tables.values() if stage.belonging.names_somebody(t)),
            partition=stage.partition,
            broadcasts=sent,
            channel_policies=stage.model.message_policies,
            called=call_functions(
                connection, stage.model, stage.belonging, stage.access, stage.seeder.world, schemas
            ),
            walls=find_openings(connection, stage.model, stage.belonging, stage.seeder.world, schemas),
            disclosed=find_disclosed(connection, stage.model),
        )


def _led(stage: Stage, access: Iterable[Cell], config: Config) -> dict[str, list[Cell]]:
    """Tables that only somebody with more rights than Alice can read, and what an admin can do to strangers' rows."""
    leaders = Leaders(stage.connection, stage.belonging, stage.seeder.world, stage.access, config)
    seen = {c.table for c in access if _reads_own(c)}
    hidden = [t for t in stage.model.reachable if _is_restricted(t) and t.name not in seen]
    return {
        t.name: list(leaders.strange(t))
        for t in hidden
        if t.name in stage.belonging.owned and leaders.read(t)
    }


def _failed(stage: Stage, access: Iterable[Cell], led: Collection[str]) -> dict[str, str]:
    """What keeps the matrices from proving anything of a table."""
    world, failed = stage.seeder.world, {}
    seen = {*led, *(c.table for c in access if _reads_own(c))}
    for table in stage.model.reachable:
        if table.name in world.failed:
            failed[table.name] = f"no row could be made: {world.failed[table.name]}"
        elif _is_restricted(table) and table.filter_columns and table.name not in stage.belonging.owned:
            failed[table.name] = "how its rows belong to users is not seen: say it in supabase/verify.toml"
        elif _is_restricted(table) and table.name in stage.belonging.owned and table.name not in seen:
            failed[table.name] = (
                "no user was found who can read a row: say in supabase/verify.toml whose rows they are"
            )
    return failed


def _is_restricted(table: Table) -> bool:
    """Some policy asks who is reading, and some client role is not let past it."""
    return table.rls and table.personal_read and "authenticated" not in table.public_read


def _ways(stage: Stage, access: Iterable[Cell]) -> Iterator[tuple[tuple[str, str, Command], tuple[str, ...]]]:
    for cell in access:
        table = stage.model.tables[cell.table]
        if cell.reaches_a_stranger and table.rls:
            probe = stage.access.probe(table, cell.whose, cell.command, cell.role)
            if probe is not None:
                yield cell.place, stage.access.ways(table, cell.command, cell.role, probe)


def _governed(stage: Stage, access: Iterable[Cell]) -> Iterator[tuple[str, str, Command]]:
    steps: dict[tuple[str, str], list[Change]] = defaultdict(list)
    for step in single_changes(stage.model, stage.belonging, stage.seeder.world):
        steps[step.table, step.column].append(step)
    for cell in access:
        if not cell.reaches_a_stranger or cell.command is Command.INSERT:
            continue
        probe = stage.access.probe(stage.model.tables[cell.table], cell.whose, cell.command, cell.role)
        writes = cell.command is not Command.SELECT
        doors = (_door(stage, cell.role, probe, those) for those in steps.values()) if probe else ()
        if any(door is not None and is_design(door, writes=writes) for door in doors):
            yield cell.place


def _door(stage: Stage, role: str, probe: Probe, steps: Sequence[Change]) -> Door | None:
    closing = tuple(step.value for step in steps if _is_denied(stage, role, probe, step))
    if not closing:
        return None
    first = steps[0]
    opens = stage.seeder.world.rows[first.table, Who.MALLORY][first.column]
    column = stage.model.tables[first.table].column(first.column)
    return Door(column, opens, tuple(step.value for step in steps), closing)


def _is_denied(stage: Stage, role: str, probe: Probe, step: Change) -> bool:
    """Whether the row is out of reach once this is changed about it; not where a constraint refuses the change."""
    change = update(stage.access, stage.model.tables[step.table], step, stage.seeder.world)
    person = stage.access.actors[role]
    answer = attempt(stage.connection, person, probe.statement, before=(*probe.before, change)).answer
    return answer is Answer.DENY


def _reads_own(cell: Cell) -> bool:
    mine = cell.role == "authenticated" and cell.whose in (Whose.OWN, Whose.SAME_TENANT)
    # What raises is told as a finding.
    return mine and cell.command is Command.SELECT and cell.result.answer in (Answer.ALLOW, Answer.RAISES)


def _unmoved(stage: Stage) -> Iterator[tuple[str, str, str]]:
    """Changes after which, in one transaction, the second of two updates left updated_at where it was."""
    for table in stage.model.published:
        kept = [c.name for c in table.columns if c.name == "updated_at" and c.base.startswith("timestamp")]
        whose = stage.access.rows_of(table)
        if kept and whose:
            column = next(_standing_still(stage, table, whose[0], kept[0]), None)
            if column is not None:
                yield table.name, kept[0], column


_CHANGES = {
    "boolean": "not {0}",
    "text": "{0} || '.'",
    "character varying": "overlay({0} placing 'y' from 1 for 1)",
    **dict.fromkeys(("smallint", "integer", "bigint", "numeric", "real", "double precision"), "{0} + 1"),
}
"""How to change a value twice, by type; a trigger may fire for real changes only."""


def _standing_still(stage: Stage, table: Table, whose: Whose, kept: str) -> Iterator[str]:
    """Columns that can be changed without updated_at moving; none where no real change can be made."""
    row = stage.access.row(table, whose)
    if row is None:
        return
    for column in table.columns:
        if row.get(column.name) is None or column.base not in _CHANGES or column.name == kept:
            continue
        if not is_free(table, column, stage.belonging):
            continue
        change = sql.SQL(_CHANGES[column.base]).format(sql.Identifier(column.name))
        query = sql.SQL("update {} set {} = {} where {} returning {}").format(
            relation(table),
            sql.Identifier(column.name),
            change,
            stage.access.where(table, row),
            sql.Identifier(kept),
        )
        times = _twice(stage.connection, query)
        if times is not None and times[1] <= times[0]:
            yield column.name


def _twice(connection: Connection, query: sql.Composed) -> tuple[datetime, datetime] | None:
    try:
        with connection.transaction(force_rollback=True):
            first, second = connection.execute(query).fetchone(), connection.execute(query).fetchone()
    except psycopg.Error:
        return None
    if first is None or second is None or first[0] is None or second[0] is None:
        return None
    return first[0], second[0]

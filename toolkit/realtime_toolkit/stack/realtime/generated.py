"""Stored generated columns. ``pgoutput`` leaves them out, so they are worked out again, from the row in the
WAL: one query for a batch's rows of one table, as the table's owner."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg

from realtime_toolkit.stack.realtime.access import array_literal, identifier, literal
from realtime_toolkit.wal import decoder as wal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from psycopg import AsyncConnection

    from realtime_toolkit.stack.realtime.catalog import Table

log = logging.getLogger("realtime_toolkit.stack.realtime")

Values = list[wal.Value]


class Plan:
    """How the changes of one relation, as the stream describes it, are completed."""

    def __init__(self, relation: wal.Relation, table: Table) -> None:
        told = {column.name: index for index, column in enumerate(relation.columns)}
        full = relation.replica_identity == "f"
        self.source = relation
        self.table = table
        self.sources: list[int | None] = [told.get(column.name) for column in table.columns]
        """For each column of the table, in its order, its place in the stream; ``None`` if it is not told."""
        columns = [
            wal.RelationColumn(column.name, column.type.oid, -1, full)
            if place is None
            else relation.columns[place]
            for column, place in zip(table.columns, self.sources, strict=True)
        ]
        self.relation = replace(relation, columns=tuple(columns))
        self.missing = [
            (index, column)
            for index, (column, place) in enumerate(zip(table.columns, self.sources, strict=True))
            if place is None and column.generated is not None
        ]

    def reordered(self, values: Values | None) -> Values | None:
        if values is None:
            return None
        return [None if place is None else values[place] for place in self.sources]

    def sql(self, rows: Iterable[Values]) -> str:
        """A query for the texts of the missing columns, a JSON array for each row."""
        expressions = ", ".join(f"({c.generated})::{c.declared} as g{i}" for i, c in self.missing)
        texts = ", ".join(
            f"case when num_nulls(g{i}) = 0 then format('%s', g{i}) end" for i, _ in self.missing
        )
        literals = array_literal([_row_literal(row) for row in rows], "text")
        row = f"select (y.r).* from (select k.v::{self.table.qualified} as r offset 0) y"
        alias = identifier(self.table.name)
        return (
            f"select (select array_to_json(array[{texts}]::text[])::text "
            f"from (select {expressions} from ({row}) {alias}) g) "
            f"from unnest({literals}) with ordinality k(v, i) order by k.i"
        )


class Generator:
    """Completes changes; remembers how."""

    def __init__(self) -> None:
        self._plans: dict[int, Plan] = {}

    async def complete(
        self, connection: AsyncConnection[Any], changes: list[wal.RowChange], tables: Mapping[int, Table]
    ) -> list[wal.RowChange]:
        """The changes with their generated columns. One that cannot be worked out stays away."""
        by_plan: dict[Plan, list[int]] = {}
        for index, change in enumerate(changes):
            table = tables.get(change.relation.oid)
            if table is not None and table.is_generated:
                by_plan.setdefault(self._plan(change.relation, table), []).append(index)
        completed = list(changes)
        for plan, indexes in by_plan.items():
            if plan.missing:
                done = await _completed(connection, plan, [changes[index] for index in indexes])
                for index, change in zip(indexes, done, strict=True):
                    completed[index] = change
        return completed

    def _plan(self, relation: wal.Relation, table: Table) -> Plan:
        plan = self._plans.get(relation.oid)
        if plan is None or plan.source is not relation or plan.table is not table:
            plan = self._plans[relation.oid] = Plan(relation, table)
        return plan


async def _completed(
    connection: AsyncConnection[Any], plan: Plan, changes: list[wal.RowChange]
) -> list[wal.RowChange]:
    completed, rows = [], []
    for change in changes:
        new, old = plan.reordered(change.new), plan.reordered(change.old)
        completed.append(replace(change, relation=plan.relation, new=new, old=old))
        if new is not None:
            rows.append((new, _whole(new, old)))
        if old is not None and not change.old_is_key:
            rows.append((old, old))
    try:
        answers = await _ask(connection, plan, [whole for _, whole in rows if whole is not None])
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        log.warning("generated columns of %s are missing: %s", plan.table.qualified, str(error).strip())
        return changes
    for target, whole in rows:
        texts = [wal.UNCHANGED] * len(plan.missing) if whole is None else next(answers)
        for (index, _), text in zip(plan.missing, texts, strict=True):
            target[index] = text.encode() if isinstance(text, str) else text
    return completed


def _whole(new: Values, old: Values | None) -> Values | None:
    """The new row, what is not in the WAL taken from the old one; ``None`` if it is not there either."""
    if not any(isinstance(value, wal.Unchanged) for value in new):
        return new
    if old is None:
        return None
    whole = [
        before if isinstance(value, wal.Unchanged) else value for value, before in zip(new, old, strict=True)
    ]
    return None if any(isinstance(value, wal.Unchanged) for value in whole) else whole


async def _ask(connection: AsyncConnection[Any], plan: Plan, rows: list[Values]) -> Any:
    if not rows:
        return iter(())
    owner = f"select set_config('role', {literal(plan.table.owner)}, true)"
    cursor = await connection.execute(f"{owner};{plan.sql(rows)}".encode())
    cursor.nextset()
    return iter([json.loads(text) for (text,) in await cursor.fetchall()])


def _row_literal(row: Values) -> str:
    return "(" + ",".join(_field(value) for value in row) + ")"


def _field(value: wal.Value) -> str:
    if not isinstance(value, bytes):
        return ""
    return '"' + value.decode().replace("\\", "\\\\").replace('"', '""') + '"'

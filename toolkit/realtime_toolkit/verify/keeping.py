"""Whether ``updated_at`` and ``version`` tell every change of a published row, found by changing rows.

Each column is changed several times, one right after the other, as ourselves, as a signed-in user and as the server: the
changes must land, and each must move what is kept. Then a client sends values of its own, in an UPDATE and in an INSERT.
Where ``session_replication_role`` may be set, the row is made a day older first: what throttles lets one update through then.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING

from psycopg import sql

from realtime_toolkit.verify.access import Command
from realtime_toolkit.verify.altering import Alteration, alterations, far_values
from realtime_toolkit.verify.editing import Editor, Seen
from realtime_toolkit.verify.keepers import is_of_new_rows, is_time, kept_columns, read_triggers, writes
from realtime_toolkit.verify.kept import UPSERT, Dropped, Given, Keeping, Kept, Pace, Still
from realtime_toolkit.verify.names import mentioned
from realtime_toolkit.verify.seeding import insert_statement, literal
from realtime_toolkit.verify.values import literals
from realtime_toolkit.verify.variation import is_free

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from realtime_toolkit.verify.access import Whose
    from realtime_toolkit.verify.keepers import Trigger
    from realtime_toolkit.verify.probing import Actor
    from realtime_toolkit.verify.seeding import Row
    from realtime_toolkit.verify.stage import Stage
    from realtime_toolkit.verify.tables import Column, Model, Table

_RETURNS_OLD = re.compile(r"\breturn\s+(coalesce\s*\(\s*)?old\b|\bnew\s*:=\s*old\b", re.IGNORECASE)
_CLIENTS = ("authenticated", "anon")
_STEPS = (4, 2, 1)
"""How often a column is changed in turn; fewer where its next state is the last one."""
_MOST_COLUMNS, _MOST_LANDINGS, _MOST_GUARDS = 16, 6, 12
_FAR, _LONG_AGO = "2100-01-01 00:00:00+00", "1999-01-01 00:00:00+00"
_DAY, _JUMP = 86_400, 1_000_000


def keeping(stage: Stage) -> Keeping:
    """Try every published table; not those that are tracked, whose promise TRK001 holds."""
    triggers = read_triggers(stage.connection)
    found = [_tried(stage, table, triggers[table.name]) for table in _judged(stage.model)]
    return Keeping(
        tuple(kept for each in found for kept in each.kept),
        tuple(dropped for each in found for dropped in each.dropped),
        tuple(reason for each in found for reason in each.undecided),
    )


def _judged(model: Model) -> Iterator[Table]:
    """Of a table's partitions, which have its triggers, the first."""
    tracked, roots = {name for name, _, _ in model.tracked}, set[str]()
    for table in model.published:
        root = table.partitions[-1].parent if table.partitions else table.name
        if root not in roots and not {table.name, root} & tracked:
            roots.add(root)
            yield table


def _tried(stage: Stage, table: Table, triggers: Sequence[Trigger]) -> Keeping:
    kept = kept_columns(table, "\n".join(trigger.text for trigger in triggers))
    if not kept and not any(trigger.instead for trigger in triggers):
        return Keeping()
    whose = next(iter(stage.access.rows_of(table)), None)
    row = stage.access.row(table, whose) if whose else None
    if whose is None or row is None:
        why = stage.seeder.world.failed.get(table.name)
        return Keeping(undecided=(f"{table.name}: no row could be made{f': {why}' if why else ''}",))
    return _Probe(stage, table, triggers, kept, whose, row).found()


class _Probe:
    """Looks at one row of one table."""

    def __init__(
        self,
        stage: Stage,
        table: Table,
        triggers: Sequence[Trigger],
        kept: Sequence[Column],
        whose: Whose,
        row: Row,
    ) -> None:
        self._stage = stage
        self._table = table
        self._triggers = triggers
        self._texts = "\n".join(trigger.text for trigger in triggers)
        self._kept = kept
        self._whose = whose
        self._row = row
        self._editor = Editor(stage.connection, table, stage.access.where(table, row), kept)
        self._extra: dict[str, sql.Composable] = {}
        """What has to be sent with every change: where a trigger asks the writer for the next version."""
        self._writer: str | None = None
        """As whom rows are changed: ourselves, unless a trigger fails without a token."""

    def found(self) -> Keeping:
        changes = self._changes()
        for role in ("authenticated", "service_role"):
            if not changes:
                self._writer = role
                changes = self._changes()
        if not any(seen.landed(change.column) for change, seen in changes.items()) and self._kept:
            self._extra = {c.name: _next(c) for c in self._kept}
            with_extra = self._changes()
            if any(seen.landed(change.column) for change, seen in with_extra.items()):
                changes = with_extra
            else:
                self._extra = {}
        if not changes:
            why = f"{self._table.name}: no change of a row could be made: {self._editor.refused}"
            return Keeping(undecided=(why,) if self._editor.refused else ())
        dropped = self._dropped(changes)
        landing = [change for change, seen in changes.items() if seen.landed(change.column)]
        if not landing:
            return Keeping(dropped=(dropped,) if dropped else ())
        landings = {role: self._landing(role, landing) for role in (*_CLIENTS, "service_role")}
        kept = [
            self._of(column, changes, landings) for column in self._kept if self._is_judged(column, landings)
        ]
        return Keeping(tuple(kept), (dropped,) if dropped else ())

    # -- changing ------------------------------------------------------------------------------------------------

    def _free(self) -> list[Column]:
        kept = {column.name for column in self._kept}
        free = [c for c in self._table.columns if is_free(self._table, c, self._stage.belonging)]
        return [c for c in free if c.name not in kept and not is_time(c)]

    def _changes(self) -> dict[Alteration, Seen]:
        """Every column that is free, changed as often as the database lets that be done."""
        changes: dict[Alteration, Seen] = {}
        for column in self._free()[:_MOST_COLUMNS]:
            alternatives = tuple(alterations(self._table, column, self._row))
            tries = (
                (change, self._changed(change, steps, self._writer))
                for steps in _STEPS
                for change in alternatives
            )
            made = next(((change, seen) for change, seen in tries if seen is not None), None)
            if made is not None:
                changes[made[0]] = made[1]
        return changes

    def _changed(self, change: Alteration, steps: int, role: str | None = None) -> Seen | None:
        values = (*change.values, *change.values)[:steps]
        statements = [self._editor.update({change.column: value, **self._extra}) for value in values]
        return self._editor.made(self._person(role), *statements)

    def _person(self, role: str | None) -> Actor | None:
        return self._stage.access.actors[role] if role else None

    def _landing(self, role: str, landing: Sequence[Alteration]) -> tuple[Alteration, Seen] | None:
        """A change that this role can make of its own row, and what came of it."""
        if role in _CLIENTS and not self._may(role, Command.UPDATE):
            return None
        for change in landing[:_MOST_LANDINGS]:
            seen = self._changed(change, 2, role) or self._changed(change, 1, role)
            if seen is not None and seen.landed(change.column):
                return change, seen
        return None

    def _may(self, role: str, command: Command) -> bool:
        """Whether privileges and policies leave this role any way at all."""
        if command.value not in self._table.reach.get(role, ()):
            return False
        return not self._table.rls or bool(self._speaking(role, command))

    def _speaking(self, role: str, command: Command) -> tuple[str, ...]:
        policies = (p for p in self._table.policies if p.permissive and p.speaks(command.letter, role))
        return tuple(policy.name for policy in policies)

    # -- what is dropped -----------------------------------------------------------------------------------------

    def _dropped(self, changes: Mapping[Alteration, Seen]) -> Dropped | None:
        by = tuple(trigger.name for trigger in self._triggers if trigger.instead)
        if not by:
            return None
        landing = [change for change, seen in changes.items() if seen.landed(change.column)]
        if not landing:
            lost = self._is_expected() and all(self._is_dropped(c, s, 1) for c, s in changes.items())
            return Dropped(self._table.name, by) if lost and not self._lands_for_others(changes) else None
        for change in landing:
            if change.steady and self._is_dropped(change, changes[change], 2):
                return Dropped(self._table.name, by, change.column, after=True)
        for change, seen in changes.items():
            if (
                change not in landing
                and self._is_dropped(change, seen, 1)
                and self._lands_beside(change, landing)
            ):
                return Dropped(self._table.name, by, change.column)
        return None

    def _is_expected(self) -> bool:
        """Whether somebody should be able to update: a client by its policies, or whoever it is that stamps are kept for."""
        kept = any(writes(trigger.text, c.name) for trigger in self._triggers for c in self._kept)
        return kept or any(self._may(role, Command.UPDATE) for role in _CLIENTS)

    def _is_dropped(self, change: Alteration, seen: Seen, step: int) -> bool:
        if step > len(seen.counts) or seen.landed(change.column, step):
            return False
        nowhere = not seen.counts[step - 1]
        as_it_was = step == 1 or seen.did_nothing(step)
        return nowhere or (as_it_was and _RETURNS_OLD.search(self._texts) is not None)

    def _lands_for_others(self, changes: Mapping[Alteration, Seen]) -> bool:
        return any(self._landing(role, list(changes)) for role in (*_CLIENTS, "service_role"))

    def _lands_beside(self, change: Alteration, landing: Sequence[Alteration]) -> bool:
        """Whether it goes through together with another change, which then is what the trigger looks at."""
        for other in landing[:_MOST_LANDINGS]:
            both = {other.column: other.values[0], change.column: change.values[0]}
            seen = self._editor.made(self._person(self._writer), self._editor.update(both))
            if seen is not None and seen.landed(change.column):
                return True
        return False

    # -- what is kept --------------------------------------------------------------------------------------------

    def _is_judged(self, column: Column, landings: Mapping[str, object]) -> bool:
        """A version that no trigger writes is one only where clients, which compare it, change rows."""
        return is_time(column) or writes(self._texts, column.name) or any(landings[r] for r in _CLIENTS)

    def _of(
        self,
        column: Column,
        changes: Mapping[Alteration, Seen],
        landings: Mapping[str, tuple[Alteration, Seen] | None],
    ) -> Kept:
        name = column.name
        those = [(change, seen, "") for change, seen in changes.items()]
        still = () if name in self._extra else tuple(_stills(name, those))
        landed = [(change, seen) for change, seen in changes.items() if seen.landed(change.column)]
        always = len([s for s in still if s.pace is Pace.STUCK]) == len(landed)
        if not still and name not in self._extra:
            clients = any(
                landings[role] for role in _CLIENTS
            )  # beside whom the server may be exempt: an import
            others = [
                (*made, r) for r, made in landings.items() if made and not (clients and r not in _CLIENTS)
            ]
            still = tuple(_stills(name, others)) or tuple(self._upserted(column, *landed[0]))
        by_clients = {role: made[0] for role, made in landings.items() if made and role in _CLIENTS}
        return Kept(
            self._table.name,
            name,
            counts=not is_time(column),
            still=still,
            always=always,
            on_update=() if always else tuple(self._given_on_update(column, by_clients)),
            on_insert=() if always else tuple(self._given_on_insert(column)),
            taken_from=self._taken_from(column),
            triggers=tuple(t.name for t in self._triggers if writes(t.text, name)),
        )

    def _upserted(self, column: Column, change: Alteration, seen: Seen) -> Iterator[Still]:
        """The row inserted again, on conflict with itself."""
        if not self._table.key:
            return
        kept = {c.name for c in self._kept}
        row = {
            c.name: literal(self._table, c.name, self._row[c.name])
            for c in self._table.columns
            if c.name not in kept and (c.identity or not c.generated)
        }
        values = (literal(self._table, change.column, look.values[change.column]) for look in seen.looks[1:3])
        again = (self._editor.upsert({**row, change.column: value}, change.column) for value in values)
        made = self._editor.made(self._person(self._writer), *again)
        if made is not None:
            yield from (Still(UPSERT, still.pace) for still in _stills(column.name, [(change, made, "")]))

    def _given_on_update(self, column: Column, by_clients: Mapping[str, Alteration]) -> Iterator[Given]:
        for role, change in by_clients.items():
            base = {**self._extra, change.column: change.values[0]}
            if any(self._stays(role, column, {**base, column.name: v}) for v in _sent(self._table, column)):
                yield Given(role, self._speaking(role, Command.UPDATE))
                continue
            beside = next(self._opened_by(role, column, base), None)
            if beside is not None:
                yield Given(role, self._speaking(role, Command.UPDATE), beside)

    def _opened_by(self, role: str, column: Column, base: Mapping[str, sql.Composable]) -> Iterator[str]:
        """Columns that, set along with it, make a trigger leave it as it came."""
        for name, value in islice(self._guards(), _MOST_GUARDS):
            far = next(_sent(self._table, column))
            if self._stays(role, column, {**base, name: value, column.name: far}):
                yield name

    def _guards(self) -> Iterator[tuple[str, sql.Composable]]:
        for column in self._free():
            if not mentioned(column.name, self._texts):
                continue
            values = [*column.labels, *(("true", "false") if column.base == "boolean" else ())]
            if column.base in ("text", "character varying"):
                values = literals(self._texts)
            for value in dict.fromkeys(values):
                if value != self._row.get(column.name):
                    yield column.name, literal(self._table, column.name, value)

    def _stays(self, role: str | None, column: Column, values: Mapping[str, sql.Composable]) -> bool:
        """Whether such an UPDATE puts it far ahead, or back."""
        seen = self._editor.made(self._person(role), self._editor.update(values))
        if seen is None or not seen.counts[0]:
            return False
        before, after = (look.kept[column.name] for look in seen.looks)
        if after is None or before is None:
            return False
        limit = seen.looks[1].now + _DAY if is_time(column) else before + _JUMP // 2
        return after < before or after > limit

    def _given_on_insert(self, column: Column) -> Iterator[Given]:
        if is_time(column) and not is_of_new_rows(self._stage.connection, self._table, column):
            return
        far = _FAR if is_time(column) else str(_JUMP)
        there = sql.SQL("{} >= {}").format(
            sql.Identifier(column.name), literal(self._table, column.name, far)
        )
        for role in _CLIENTS:
            probe = self._stage.access.probe(self._table, self._whose, Command.INSERT, role)
            if probe is None or probe.given is None or not self._may(role, Command.INSERT):
                continue
            statement = insert_statement(self._table, {**probe.given, column.name: far})
            if self._editor.inserted(self._stage.access.actors[role], probe.before, statement, there):
                yield Given(role, self._speaking(role, Command.INSERT))

    def _taken_from(self, column: Column) -> str | None:
        """A column of the row that brings the time, or the number, along."""
        for other in self._table.columns:
            if other.name in {*self._table.key, column.name} or other.generated or is_time(other):
                continue
            if not mentioned(other.name, self._texts):
                continue
            for value in far_values(self._table, other, self._texts):
                if self._stays(self._writer, column, {**self._extra, other.name: value}):
                    return other.name
        return None


def _next(column: Column) -> sql.Composable:
    following = "clock_timestamp()" if is_time(column) else "{0} + 1"
    return sql.SQL(following).format(sql.Identifier(column.name))


def _sent(table: Table, column: Column) -> Iterator[sql.Composable]:
    """What a client may send: far ahead, and back."""
    if is_time(column):
        yield literal(table, column.name, _FAR)
        yield literal(table, column.name, _LONG_AGO)
    else:
        yield sql.SQL("{} + {}").format(sql.Identifier(column.name), sql.Literal(_JUMP))
        yield sql.SQL("{} - 2").format(sql.Identifier(column.name))


def _stills(kept: str, made: Sequence[tuple[Alteration, Seen, str]]) -> Iterator[Still]:
    """Changes that landed and left it where it was; cut, where every value that was seen is a whole one."""
    times = [look.kept[kept] for _, seen, _ in made for look in seen.looks[1:]]
    whole = all(time is not None and time.is_finite() and time * 1000 == int(time * 1000) for time in times)
    for change, seen, role in made:
        pace = _pace(kept, change, seen)
        if pace is not None:
            yield Still(change.column, Pace.CUT if pace is Pace.TIED and whole else pace, role)


def _pace(kept: str, change: Alteration, seen: Seen) -> Pace | None:
    for step in range(1, len(seen.looks)):
        before, after = seen.looks[step - 1].kept[kept], seen.looks[step].kept[kept]
        if seen.landed(change.column, step) and (after is None or (before is not None and after <= before)):
            return Pace.STUCK if step == 1 else Pace.TIED
    return None

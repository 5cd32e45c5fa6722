"""The access matrix: who can select, insert, update and delete whose rows, found by trying."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from realtime_toolkit.verify.probing import ROLES, Actor, Answer, Result, actor, attempt
from realtime_toolkit.verify.seeding import Who, equals, insert_statement, relation
from realtime_toolkit.verify.tables import hanging_on, in_dependency_order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_toolkit.verify.config import Config
    from realtime_toolkit.verify.ownership import Belonging
    from realtime_toolkit.verify.probing import Statement
    from realtime_toolkit.verify.seeding import Row, Seeder
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Model, Table


class Command(StrEnum):
    SELECT = "select"
    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"

    @property
    def letter(self) -> str:
        """As ``pg_policy.polcmd`` has it."""
        return {"select": "r", "insert": "a", "update": "w", "delete": "d"}[self.value]


class Whose(StrEnum):
    """A row, seen from the person who asks: Alice."""

    OWN = "own"
    SAME_TENANT = "same tenant"
    OTHER_TENANT = "other tenant"
    OWNERLESS = "ownerless"


_WHO = {
    Whose.OWN: Who.ALICE,
    Whose.SAME_TENANT: Who.BOB,
    Whose.OTHER_TENANT: Who.MALLORY,
    Whose.OWNERLESS: Who.NOBODY,
}


@dataclass(frozen=True, slots=True)
class Cell:
    table: str
    role: str
    command: Command
    whose: Whose
    result: Result

    @property
    def reaches_a_stranger(self) -> bool:
        strange = self.whose is Whose.OTHER_TENANT and self.role != "service_role"
        return strange and self.result.answer is Answer.ALLOW

    @property
    def place(self) -> tuple[str, str, Command]:
        return self.table, self.role, self.command


@dataclass(frozen=True, slots=True)
class Probe:
    """A statement about one row, and what has to be done before it, as ourselves."""

    statement: Statement
    before: tuple[Statement, ...] = ()


class Access:
    """Tries commands on seeded rows. Everything is undone after each attempt."""

    def __init__(
        self, connection: Connection, model: Model, belonging: Belonging, seeder: Seeder, config: Config
    ) -> None:
        self._connection = connection
        self._model = model
        self._belonging = belonging
        self._seeder = seeder
        self._inserts: dict[tuple[str, Who], Probe | None] = {}
        self._answers: dict[tuple[str, Whose, Command, str], Result] = {}
        self.actors: dict[str, Actor] = {
            role: actor(role, Who.ALICE, seeder.world, belonging, config) for role in ROLES
        }

    def cells(self, table: Table) -> Iterator[Cell]:
        """All cells of one table; those of rows that cannot be are left out."""
        for whose in self.rows_of(table):
            for command in Command:
                yield from self._row_cells(table, whose, command)

    def rows_of(self, table: Table) -> list[Whose]:
        """Which kinds of row the table has, and a row was seeded of."""
        if table.name not in self._belonging.owned:
            kinds = [Whose.OWNERLESS]
        else:
            kinds = [Whose.OWN, Whose.OTHER_TENANT, Whose.OWNERLESS]
            if table.name in self._belonging.personal & self._belonging.shared:
                kinds.insert(1, Whose.SAME_TENANT)
        return [whose for whose in kinds if self.row(table, whose) is not None]

    def row(self, table: Table, whose: Whose) -> Row | None:
        who = self.who(table, whose)
        return self._seeder.world.rows.get((self._seeded_in(table, who), who))

    def _seeded_in(self, table: Table, who: Who) -> str:
        """The table itself; of a divided one a partition that holds a row of theirs."""
        if table.kind != "p":
            return table.name
        leaves = (
            t.name for t in self._model.tables.values() if table.name in (p.parent for p in t.partitions)
        )
        return next((leaf for leaf in leaves if (leaf, who) in self._seeder.world.rows), table.name)

    def who(self, table: Table, whose: Whose) -> Who:
        """Whose seeded row stands for it; a table without owners has all its rows ownerless."""
        if whose is Whose.OWNERLESS and table.name not in self._belonging.owned:
            return Who.ALICE
        return _WHO[whose]

    # -- one row -------------------------------------------------------------------------------------------

    def _row_cells(self, table: Table, whose: Whose, command: Command) -> Iterator[Cell]:
        for role in ROLES:
            yield Cell(table.name, role, command, whose, self.answer(table, whose, command, role))

    def answer(self, table: Table, whose: Whose, command: Command, role: str) -> Result:
        """Whether this role may do that to this row; asked once."""
        place = (table.name, whose, command, role)
        if place not in self._answers:
            self._answers[place] = self._judge(table, whose, command, role)
        return self._answers[place]

    def _judge(self, table: Table, whose: Whose, command: Command, role: str) -> Result:
        probe = self.probe(table, whose, command, role)
        if probe is None:
            return Result(Answer.UNDECIDED)
        result = attempt(self._connection, self.actors[role], probe.statement, before=probe.before)
        if command is Command.DELETE and result.sqlstate in ("23503", "23001"):
            return Result(Answer.ALLOW)  # the row was reached; what hangs on it held it back
        if result.answer is Answer.ALLOW:
            return result
        before = (*probe.before, self.voice(table, whose))
        control = attempt(self._connection, None, probe.statement, before=before)
        if command is Command.DELETE and control.sqlstate in ("23503", "23001"):
            control = Result(Answer.ALLOW)
        return _weighed(command, result, control)

    def voice(self, table: Table, whose: Whose) -> Statement:
        """After this triggers that ask who it is hear the one whose row it is."""
        return self._seeder.voice(self.who(table, whose))

    def probe(self, table: Table, whose: Whose, command: Command, role: str) -> Probe | None:
        row = self.row(table, whose)
        if row is None:
            return None
        if command is Command.INSERT:
            place = (table.name, self.who(table, whose))
            if place not in self._inserts:
                self._inserts[place] = self._insert_probe(table, place[1])
            return self._inserts[place]
        where = self.where(table, row)
        if command is Command.SELECT:
            return Probe(sql.SQL("select from {} where {}").format(relation(table), where))
        if command is Command.DELETE:
            return Probe(sql.SQL("delete from {} where {}").format(relation(table), where))
        column = self._updatable(table, role)
        if column is None:
            return None
        assignment = sql.SQL("{0} = {0}").format(sql.Identifier(column))
        return Probe(sql.SQL("update {} set {} where {}").format(relation(table), assignment, where))

    def where(self, table: Table, row: Row) -> Statement:
        """What names this row: its key, or all of it."""
        columns = table.key or tuple(c.name for c in table.columns if row.get(c.name) is not None)
        return sql.SQL(" and ").join(equals(table, name, row[name]) for name in columns)

    def ways(self, table: Table, command: Command, role: str, probe: Probe) -> tuple[str, ...]:
        """The permissive policies that let this statement through, each tried without the others; all where none does alone."""
        speaking = [p.name for p in table.policies if p.permissive and p.speaks(command.letter, role)]
        if len(speaking) < 2:
            return tuple(speaking)
        dropped = {name: drop_policy(table, name) for name in speaking}
        alone = [
            name
            for name in speaking
            if attempt(
                self._connection,
                self.actors[role],
                probe.statement,
                before=(*probe.before, *(drop for other, drop in dropped.items() if other != name)),
            ).answer
            is Answer.ALLOW
        ]
        return tuple(alone or speaking)

    def _updatable(self, table: Table, role: str) -> str | None:
        """A column this role may set: an ordinary one if there is any, else whatever can be written."""
        special = {*table.key, *self._belonging.users.get(table.name, ()), *table.partition_key}
        special |= self._belonging.tenants.get(table.name, frozenset())
        special |= {name for key in table.foreign_keys for name in key.columns}
        writable = [column.name for column in table.columns if not column.generated]
        writable.sort(key=lambda name: (name in special, name in table.key))
        if not writable:
            return None
        asked = sql.SQL("select c from unnest({}::text[]) c where has_column_privilege({}, {}, c, 'update')")
        granted = self._connection.execute(
            asked.format(sql.Literal(writable), sql.Literal(role), sql.Literal(table.name))
        ).fetchall()
        names = {row[0] for row in granted}
        return next((name for name in writable if name in names), writable[0])

    def _insert_probe(self, table: Table, who: Who) -> Probe | None:
        """Another row like the seeded one. Where a person can have one only, theirs is taken away first."""
        place = (self._seeded_in(table, who), who)
        given = dict(self._seeder.world.given.get(place, {}))
        made: Row | None = None
        try:
            with self._connection.transaction(force_rollback=True):
                made = self._seeder.insert(self._model.tables[place[0]], given, who)
        except psycopg.Error:
            return None
        seeded = self._seeder.world.rows[place]
        statement = insert_statement(table, given)
        if table.key and all(made[name] == seeded[name] for name in table.key):
            return Probe(statement, (*self._removals(table, who), self._removal(table, seeded)))
        return Probe(statement)

    def _removals(self, table: Table, who: Who) -> Iterator[Statement]:
        """Takes away what hangs on that person's row in this table, the farthest first."""
        hanging = hanging_on(self._model.tables, table.name)
        seeded = self._seeder.world.rows
        place = self._seeded_in(table, who)
        sharing = [w for w in Who if seeded.get((place, w)) == seeded.get((place, who))]
        for other in reversed(in_dependency_order(self._model.tables.values())):
            rows = {w: self._seeder.world.rows.get((other.name, w)) for w in sharing}
            if other.name in hanging:
                yield from (self._removal(other, row) for row in rows.values() if row is not None)

    def _removal(self, table: Table, row: Row) -> Statement:
        return sql.SQL("delete from {} where {}").format(relation(table), self.where(table, row))


def _weighed(command: Command, result: Result, control: Result) -> Result:
    """What a refusal proves beside what befell ourselves, whom no policy binds."""
    refused = result.answer in (Answer.DENY, Answer.RAISES)
    if control.answer is Answer.ALLOW or (control.answer is Answer.RAISES and refused):
        return result  # a trigger that raises for everybody lets nobody through, and out of reach it does not fire
    if control.answer is Answer.FAULT:
        return control
    if control.answer is Answer.UNDECIDED and result.answer is Answer.DENY and command is not Command.INSERT:
        return result  # the row was not reached: what a constraint says of the new one does not matter
    return Result(Answer.UNDECIDED, control.sqlstate)  # nobody can: then a denial proves nothing


def drop_policy(table: Table, name: str) -> sql.Composed:
    return sql.SQL("drop policy {} on {}").format(sql.Identifier(name), relation(table))

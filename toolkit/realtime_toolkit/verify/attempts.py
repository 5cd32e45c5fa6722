"""How writing is tried: statements on seeded rows, people in other roles, rows in other states. Everything is undone.

A statement with a WHERE is bound by the SELECT policies too, so the wider reach of the others shows only without one. To
tell what the policies for INSERT, UPDATE and DELETE alone allow, the table gets a policy for the moment of the trial under
which everybody reads (:meth:`~realtime_toolkit.verify.access.Access.eyes`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING

from psycopg import sql

from realtime_toolkit.verify.access import Command, Probe, Whose
from realtime_toolkit.verify.acts import owning
from realtime_toolkit.verify.deeds import Deed, Wrong
from realtime_toolkit.verify.names import parts
from realtime_toolkit.verify.ordinary import MIGHTY, asks, is_list, role_changes
from realtime_toolkit.verify.ownership import claimed_roles
from realtime_toolkit.verify.probing import Answer, attempt
from realtime_toolkit.verify.seeding import Who, literal, relation
from realtime_toolkit.verify.tables import USERS
from realtime_toolkit.verify.variation import Change, changes_of, is_free, policy_texts, update

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from realtime_toolkit.verify.acts import Owning
    from realtime_toolkit.verify.probing import Actor, Statement
    from realtime_toolkit.verify.seeding import Row
    from realtime_toolkit.verify.stage import Stage
    from realtime_toolkit.verify.tables import ForeignKey, Table

MOST = 10
"""States that are tried of one kind; what policies speak of is seldom more."""
Values = dict[str, str | None]


@dataclass(frozen=True, slots=True)
class State:
    """Alice with another role, or a row with another value."""

    person: Actor
    before: tuple[Statement, ...] = ()
    said: str = ""
    mighty: bool = False
    """A role above tenants: what it may do to strangers is by design."""
    change: Change | None = None

    def after(self, *statements: Statement) -> State:
        return replace(self, before=(*self.before, *statements))

    def beside(self, role: State) -> State:
        """This state of a row and that of a person at once."""
        said = " and ".join(filter(None, (self.said, role.said)))
        return replace(role, before=(*self.before, *role.before), said=said, change=self.change)


class Attempts:
    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.world = stage.seeder.world
        self.access = stage.access
        self.alice = State(stage.access.actors["authenticated"])
        self._texts = policy_texts(stage.model)
        self._owning = {t.name: owning(t, stage.model, stage.belonging) for t in stage.model.tables.values()}

    def owning(self, table: Table) -> Owning:
        return self._owning[table.name]

    def own(self, table: Table) -> Row | None:
        return self.access.row(table, Whose.OWN)

    def theirs(self, table: Table) -> Row | None:
        return self.access.row(table, Whose.OTHER_TENANT)

    # -- trying --------------------------------------------------------------------------------------------

    def allowed(self, table: Table, state: State, statement: Statement, *, eyes: bool = True) -> bool:
        before = (*state.before, *(self.access.eyes(table) if eyes else ()))
        result = attempt(self.stage.connection, state.person, statement, before=before)
        # A key that is taken, or a row that others hang on, is looked at after every policy has agreed.
        deletes = statement.as_string(self.stage.connection).startswith("delete ")
        refused = ("23503", "23001") if deletes else ("23505",)
        return result.answer is Answer.ALLOW or result.sqlstate in refused

    def seen(self, table: Table, state: State, whose: Whose = Whose.OTHER_TENANT) -> bool:
        """Whether the row can be read, as it is in that state."""
        look = self.access.probe(table, whose, Command.SELECT, state.person.role)
        return look is not None and self.allowed(table, state, look.statement, eyes=False)

    def is_seen(self, name: str) -> bool:
        """Whether Alice reads Mallory's row of the parent: then hanging something on it may be meant."""
        parent = self.stage.model.tables.get(name)
        return parent is None or self.theirs(parent) is None or self.seen(parent, self.alice)

    def wrong(
        self, deed: Deed, table: Table, command: Command, state: State, statement: Statement, *columns: str
    ) -> Wrong:
        """With the policies that let it happen."""
        probe = Probe(statement, (*state.before, *self.access.eyes(table)))
        ways = self.access.ways(table, command, state.person.role, probe, state.person)
        return Wrong(deed, table.name, state.person.role, command, ways, columns, state.said)

    # -- statements ----------------------------------------------------------------------------------------

    def set(self, table: Table, row: Row, values: Mapping[str, str | None]) -> Statement:
        """An UPDATE that counts only where the row then holds these values: a trigger may put them back."""
        change = self.change(table, row, values)
        return sql.SQL("with w as ({} returning *) select from w where {}").format(
            change, _holds(table, values)
        )

    def change(self, table: Table, row: Row, values: Mapping[str, str | None]) -> sql.Composed:
        assignments = (
            sql.SQL("{} = {}").format(sql.Identifier(c), literal(table, c, v)) for c, v in values.items()
        )
        return sql.SQL("update {} set {} where {}").format(
            relation(table), sql.SQL(", ").join(assignments), self.access.where(table, row)
        )

    def insert(self, table: Table, row: Row, values: Mapping[str, str | None]) -> Statement:
        """An INSERT that counts only where the row then holds these values."""
        given = {**row, **values}
        return sql.SQL(
            "with w as (insert into {} ({}) values ({}) returning *) select from w where {}"
        ).format(
            relation(table),
            sql.SQL(", ").join(map(sql.Identifier, given)),
            sql.SQL(", ").join(literal(table, c, v) for c, v in given.items()),
            _holds(table, values),
        )

    def touch(
        self, table: Table, whose: Whose, role: str = "authenticated"
    ) -> Iterator[tuple[Command, Statement]]:
        """UPDATE and DELETE of that row, as far as the role holds the privilege."""
        for command in (Command.UPDATE, Command.DELETE):
            probe = self.access.probe(table, whose, command, role)
            if probe is not None and command.value in table.reach.get(role, ()):
                yield command, probe.statement

    # -- states --------------------------------------------------------------------------------------------

    def roles(self, table: Table) -> Iterator[State]:
        """Alice, and Alice with each role that the table's policies ask for."""
        yield self.alice
        yield from islice(chain(self._own_roles(table), self._claims(table)), MOST)

    def _own_roles(self, table: Table) -> Iterator[State]:
        belonging = self.stage.belonging
        for other in self.stage.model.tables.values():
            if (other.name, Who.ALICE) in self.world.rows and asks(table, other):
                for change in role_changes(other, belonging, self._texts, self.world):
                    before = (update(self.access, other, change, self.world, Who.ALICE),)
                    said = f"with {parts(other.name)[-1]}.{change.column} = {change.value}"
                    mighty = is_list(other, belonging) and bool(MIGHTY.search(change.value or ""))
                    yield State(self.alice.person, before, said, mighty)

    def _claims(self, table: Table) -> Iterator[State]:
        for path, value in claimed_roles(table):
            person = _with_claim(self.alice.person, path, value)
            yield State(person, (), f"with the claim {path[-1]} = {value}", mighty=True)

    def doors(self, table: Table, who: Who) -> Iterator[State]:
        """The row as it is, and with other values in the columns that policies look at."""
        yield self.alice
        row = self.world.rows.get((table.name, who))
        for change in islice(self.steps(table, row or {}), MOST):
            before = (update(self.access, table, change, self.world, who),)
            said = f"where {change.column} = {change.value}"
            yield replace(self.alice, before=before, said=said, change=change)

    def steps(self, table: Table, row: Row) -> Iterator[Change]:
        """Other values for this row where some policy looks."""
        for column in table.columns:
            if column.name in row and is_free(table, column, self.stage.belonging):
                yield from changes_of(table, column, row, self._texts)

    def doors_above(self, table: Table) -> Iterator[State]:
        """What the rows of Alice's and Mallory's hang on, in other states."""
        found = (
            islice(self.doors(parent, who), 1, None)
            for parent in self._ancestors(table)
            for who in (Who.MALLORY, Who.ALICE)
        )
        return islice(chain.from_iterable(found), MOST)

    def _ancestors(self, table: Table) -> list[Table]:
        """The nearest first."""
        found: dict[str, Table] = {}
        queue = [table]
        while queue:
            for key in queue.pop(0).foreign_keys:
                parent = self.stage.model.tables.get(key.target)
                if parent is not None and parent.name not in found and parent.name != table.name:
                    found[parent.name] = parent
                    queue.append(parent)
        return list(found.values())

    # -- values --------------------------------------------------------------------------------------------

    def given(self, table: Table) -> Row:
        """Values for an INSERT of Alice's; what has a default is left to it."""
        return dict(self.world.given.get((self.access.seeded_in(table, Who.ALICE), Who.ALICE), {}))

    def leading(self, key: ForeignKey, who: Who) -> Values | None:
        """A foreign key's columns, leading to that person's row."""
        target = self._row_of(key.target, who)
        if target is None:
            return None
        return {c: target.get(t) for c, t in zip(key.columns, key.target_columns, strict=True)}

    def _row_of(self, name: str, who: Who) -> Row | None:
        if name == USERS:
            return {"id": who.user_id}
        table = self.stage.model.tables.get(name)
        whose = {Who.ALICE: Whose.OWN, Who.BOB: Whose.SAME_TENANT}.get(who, Whose.OTHER_TENANT)
        return None if table is None else self.access.row(table, whose)

    def elsewhere(self, table: Table) -> Iterator[tuple[Values, str | None]]:
        """What leads a row to Mallory's tenant or parent, and that parent; what hangs together by composite keys at last."""
        own, theirs = self.owning(table), self.theirs(table) or {}
        whole: Values = {}
        for name in own.tenants:
            if theirs.get(name) is not None:
                whole[name] = theirs[name]
                yield {name: theirs[name]}, None
        for key in own.parents:
            led = self.leading(key, Who.MALLORY)
            values: Values = {c: v for c, v in (led or {}).items() if c not in own.users and v is not None}
            if values:
                whole |= values
                yield values, key.target
        if len(whole) > 1:
            yield whole, own.parents[0].target if own.parents else None


def _holds(table: Table, values: Mapping[str, str | None]) -> sql.Composed:
    return sql.SQL(" and ").join(
        sql.SQL("{} is not distinct from {}").format(sql.Identifier(c), literal(table, c, v))
        for c, v in values.items()
    )


def _with_claim(person: Actor, path: tuple[str, ...], value: str) -> Actor:
    claims = {**person.claims}
    place = claims
    for step in path[:-1]:
        place[step] = {**place.get(step, {})}
        place = place[step]
    place[path[-1]] = value
    return replace(person, claims=claims)

"""What a client can write that he should not: each act is tried as Alice on seeded rows, and undone.

A statement with a WHERE is bound by the SELECT policies too, so the wider reach of the others shows only without one. To
tell what the policies for UPDATE and DELETE alone allow, the table gets a policy for the moment of the trial under which
everybody reads (:meth:`Writing._eyes`). What comes of a write is looked at, not its name: whether more of others' rows is
in reach afterwards, whether the own row is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain, islice
from typing import TYPE_CHECKING

from psycopg import sql

from realtime_toolkit.verify import acts
from realtime_toolkit.verify.access import Command, Probe, Whose, drop_policy
from realtime_toolkit.verify.names import parts
from realtime_toolkit.verify.ordinary import MIGHTY, asks, is_list, role_changes
from realtime_toolkit.verify.ownership import claimed_roles
from realtime_toolkit.verify.probing import Answer, attempt
from realtime_toolkit.verify.seeding import Who, literal, relation
from realtime_toolkit.verify.sharing import PUBLIC, Door, is_design
from realtime_toolkit.verify.tables import USERS
from realtime_toolkit.verify.values import literals
from realtime_toolkit.verify.variation import Change, changes_of, is_free, policy_texts, update

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from realtime_toolkit.verify.access import Cell
    from realtime_toolkit.verify.ordinary import Reach
    from realtime_toolkit.verify.probing import Actor, Statement
    from realtime_toolkit.verify.seeding import Row
    from realtime_toolkit.verify.stage import Stage
    from realtime_toolkit.verify.tables import ForeignKey, Table

_MOST = 10
"""States that are tried of one kind; what policies speak of is seldom more."""


class Deed(StrEnum):
    REACHES = "changes rows of a stranger in another state"
    TAKES = "takes a stranger's row over"
    MOVES = "moves an own row to a stranger"
    NAMES = "inserts in another's name"
    ENTERS = "inserts into another's parent"
    GAINS = "reaches more of others' rows afterwards"
    RESERVED = "sets what is not the owner's business"
    UNSEEN = "changes rows that may not be read"
    OWNERLESS = "changes rows that are nobody's"
    NULLS = "reaches rows that are nobody's by having no identity"
    READING = "changes rows through a policy for reading"


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing that can be done, and should not."""

    deed: Deed
    table: str
    role: str
    commands: tuple[Command, ...]
    ways: tuple[str, ...]
    columns: tuple[str, ...] = ()
    state: str = ""
    """What has to be so for it; empty for an ordinary row and person."""


@dataclass(frozen=True, slots=True)
class _State:
    """Alice with another role, or a row with another value."""

    person: Actor
    before: tuple[Statement, ...] = ()
    said: str = ""
    mighty: bool = False
    """A role above tenants: what it may do to strangers is by design."""
    change: Change | None = None


class Writing:
    def __init__(self, stage: Stage, cells: Iterable[Cell]) -> None:
        self._stage = stage
        self._world = stage.seeder.world
        self._access = stage.access
        self._texts = policy_texts(stage.model)
        self._alice = _State(stage.access.actors["authenticated"])
        self._cells = {(c.table, c.role, c.command, c.whose): c.result.answer for c in cells}

    def wrongs(self, table: Table) -> Iterator[Wrong]:
        """All that is wrong with writing to this table; nothing where RLS is off, which is another's to say."""
        can = table.reach.get("authenticated", frozenset())
        if not table.rls or not self._speaking(table):
            return
        if table.name in self._stage.belonging.owned:
            if "update" in can or "delete" in can:
                yield from islice(self._others_rows(table), 1)
                yield from islice(self._for_reading(table), 1)
                yield from islice(self._ownerless(table), 1)
            if "update" in can:
                yield from islice(self._moved(table), 1)
            if "insert" in can:
                yield from islice(self._named(table), 1)
                yield from islice(self._entered(table), 1)
            yield from islice(self._gained(table), 1)
            yield from self._reserved(table)
        yield from islice(self._nulls(table), 1)

    def _speaking(self, table: Table) -> bool:
        return any(p.permissive and p.command != "r" for p in table.policies) or bool(table.policies)

    # -- trying --------------------------------------------------------------------------------------------

    def _eyes(self, table: Table) -> tuple[Statement, ...]:
        """Everybody reads: what is tried afterwards is bound by the policies for writing alone."""
        name = relation(table)
        return (
            sql.SQL("grant select on {} to anon, authenticated").format(name),
            sql.SQL('create policy "toolkit: eyes" on {} for select using (true)').format(name),
            *(drop_policy(table, p.name) for p in table.policies if p.command == "r" and not p.permissive),
        )

    def _try(self, table: Table, state: _State, statement: Statement, *, eyes: bool = True) -> bool:
        before = (*state.before, *(self._eyes(table) if eyes else ()))
        result = attempt(self._stage.connection, state.person, statement, before=before)
        # A key that is taken is looked at after every policy has agreed.
        return result.answer is Answer.ALLOW or result.sqlstate == "23505"

    def _ways(self, table: Table, command: Command, state: _State, statement: Statement) -> tuple[str, ...]:
        probe = Probe(statement, (*state.before, *self._eyes(table)))
        return self._access.ways(table, command, state.person.role, probe, state.person)

    def _wrong(
        self, deed: Deed, table: Table, command: Command, state: _State, statement: Statement, *columns: str
    ) -> Wrong:
        ways = self._ways(table, command, state, statement)
        return Wrong(deed, table.name, state.person.role, (command,), ways, columns, state.said)

    def _set(self, table: Table, row: Row, values: Mapping[str, str | None]) -> Statement:
        """An UPDATE that counts only where the row then holds these values: a trigger may put them back."""
        return sql.SQL("with w as (update {} set {} where {} returning *) select from w where {}").format(
            relation(table),
            sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(c), literal(table, c, v)) for c, v in values.items()
            ),
            self._access.where(table, row),
            _holds(table, values),
        )

    def _insert(self, table: Table, row: Row, values: Mapping[str, str | None]) -> Statement:
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

    def _touch(self, table: Table, whose: Whose) -> Iterator[tuple[Command, Statement]]:
        for command in (Command.UPDATE, Command.DELETE):
            probe = self._access.probe(table, whose, command, "authenticated")
            if probe is not None and command.value in table.reach.get("authenticated", ()):
                yield command, probe.statement

    # -- states --------------------------------------------------------------------------------------------

    def _roles(self, table: Table) -> Iterator[_State]:
        """Alice, and Alice with each role that the table's policies ask for."""
        yield self._alice
        belonging, found = self._stage.belonging, []
        for other in self._stage.model.tables.values():
            if (other.name, Who.ALICE) not in self._world.rows or not asks(table, other):
                continue
            above = is_list(other, belonging)
            for change in role_changes(other, belonging, self._texts, self._world):
                before = (update(self._access, other, change, self._world, Who.ALICE),)
                said = f"with {parts(other.name)[-1]}.{change.column} = {change.value}"
                mighty = above and bool(MIGHTY.search(change.value or ""))
                found.append(_State(self._alice.person, before, said, mighty))
        for path, value in claimed_roles(table):
            person = _with_claim(self._alice.person, path, value)
            found.append(_State(person, (), f"with the claim {path[-1]} = {value}", mighty=True))
        yield from found[:_MOST]

    def _doors(self, table: Table, who: Who) -> Iterator[_State]:
        """The row as it is, and with other values in the columns that policies look at."""
        yield self._alice
        row = self._world.rows.get((table.name, who), {})
        texts = " ".join(t for p in table.policies for t in (p.text, *p.functions.values()))
        changes = (
            change
            for column in table.columns
            if row and is_free(table, column, self._stage.belonging)
            for change in changes_of(table, column, row, texts)
        )
        for change in islice(changes, _MOST):
            before = (update(self._access, table, change, self._world, who),)
            yield replace(
                self._alice, before=before, said=f"where {change.column} = {change.value}", change=change
            )

    # -- rows of others ------------------------------------------------------------------------------------

    def _others_rows(self, table: Table) -> Iterator[Wrong]:
        for whose in (Whose.OTHER_TENANT, Whose.SAME_TENANT):
            if self._access.row(table, whose) is None or not self._is_other(table, whose):
                continue
            for state in self._roles(table):
                yield from self._touched(table, whose, state)
        row = self._access.row(table, Whose.OTHER_TENANT)
        if row is not None and "update" in table.reach.get("authenticated", ()):
            yield from self._through_doors(table, row)

    def _is_other(self, table: Table, whose: Whose) -> bool:
        return self._access.row(table, whose) != self._access.row(table, Whose.OWN)

    def _touched(self, table: Table, whose: Whose, state: _State) -> Iterator[Wrong]:
        """UPDATE and DELETE of a row that cannot be read; in a role of one tenant also of another's that can."""
        look = self._access.probe(table, whose, Command.SELECT, "authenticated")
        for command, statement in self._touch(table, whose):
            if not self._try(table, state, statement):
                continue
            seen = look is not None and self._try(table, state, look.statement, eyes=False)
            if not seen:
                yield self._wrong(Deed.UNSEEN, table, command, state, statement)
            elif whose is Whose.OTHER_TENANT and state.before and not state.mighty:
                yield self._wrong(Deed.REACHES, table, command, state, statement)

    def _through_doors(self, table: Table, row: Row) -> Iterator[Wrong]:
        mine = list(self._takings(table))
        for door in self._doors(table, Who.MALLORY):
            for role in self._roles(table):
                if role.mighty or (role.before and not door.before and not mine):
                    continue
                state = _both(door, role)
                if door.change is not None and not self._is_shared_to_edit(table, door.change):
                    for command, statement in self._touch(table, Whose.OTHER_TENANT):
                        if self._try(table, state, statement):
                            yield self._wrong(Deed.REACHES, table, command, state, statement)
                for values in mine:
                    statement = self._set(table, row, values)
                    if self._try(table, state, statement) and not self._is_task(table, state, values):
                        yield self._wrong(Deed.TAKES, table, Command.UPDATE, state, statement, *values)

    def _takings(self, table: Table) -> Iterator[dict[str, str | None]]:
        """What makes a row of Mallory's Alice's: each column by itself, and all of them."""
        own = acts.owning(table, self._stage.model, self._stage.belonging)
        alices = self._access.row(table, Whose.OWN)
        if alices is None:
            return
        groups = [(name,) for name in (*own.users, *own.tenants)] + [key.columns for key in own.parents]
        whole = tuple(dict.fromkeys(chain.from_iterable(groups)))
        for group in dict.fromkeys((*groups, whole)):
            if group and not set(group) & set(table.key) and all(alices.get(c) is not None for c in group):
                yield {name: alices[name] for name in group}

    def _is_task(self, table: Table, state: _State, values: Mapping[str, str | None]) -> bool:
        """Taking a task that one may see is no theft."""
        look = self._access.probe(table, Whose.OTHER_TENANT, Command.SELECT, "authenticated")
        about = all(acts.ABOUT.search(name) for name in values)
        return about and look is not None and self._try(table, state, look.statement, eyes=False)

    def _is_shared_to_edit(self, table: Table, change: Change) -> bool:
        column = table.column(change.column)
        return is_design(Door(column, change.value, (), ()), writes=True)

    def _for_reading(self, table: Table) -> Iterator[Wrong]:
        """A policy FOR ALL whose name speaks of reading, and that lets rows be changed."""
        suspects = {p.name for p in table.policies if p.permissive and acts.meant_for_reading(p)}
        for whose in (Whose.OWN, Whose.SAME_TENANT, Whose.OTHER_TENANT) if suspects else ():
            for state in self._doors(table, self._access.who(table, whose)):
                for command, statement in self._touch(table, whose):
                    if self._try(table, state, statement):
                        ways = self._ways(table, command, state, statement)
                        if suspects & set(ways):
                            yield Wrong(
                                Deed.READING,
                                table.name,
                                "authenticated",
                                (command,),
                                tuple(sorted(suspects & set(ways))),
                            )

    # -- own rows ------------------------------------------------------------------------------------------

    def _moved(self, table: Table) -> Iterator[Wrong]:
        row = self._access.row(table, Whose.OWN)
        if row is None:
            return
        for values, parent in self._givings(table):
            if (
                set(values) & set(table.key) - {c for k in table.foreign_keys for c in k.columns}
                and parent is None
            ):
                continue
            statement = self._set(table, row, values)
            for state in chain(self._doors(table, Who.ALICE), islice(self._roles(table), 1, None)):
                if state.mighty or not self._try(table, state, statement):
                    continue
                if parent is not None and self._is_seen(parent):
                    continue
                if parent is None and not self._is_lost(table, state, row, values):
                    continue
                yield self._wrong(Deed.MOVES, table, Command.UPDATE, state, statement, *values)

    def _givings(self, table: Table) -> Iterator[tuple[dict[str, str | None], str | None]]:
        """What makes a row of Alice's Mallory's, and the parent it leads to; ``None`` for a user's or tenant's column."""
        own = acts.owning(table, self._stage.model, self._stage.belonging)
        theirs = self._access.row(table, Whose.OTHER_TENANT) or {}
        for name in own.users:
            yield {name: Who.MALLORY.user_id}, None
        for name in own.tenants:
            if theirs.get(name) is not None:
                yield {name: theirs[name]}, None
        for key in own.parents:
            values = self._leading(key, Who.MALLORY)
            if values is not None:
                yield values, key.target
        everything = self._all_but_users(table, Who.MALLORY)
        if len(everything) > 1:
            yield everything, own.parents[0].target if own.parents else None

    def _leading(self, key: ForeignKey, who: Who) -> dict[str, str | None] | None:
        """A foreign key's columns, leading to that person's row."""
        target = self._row_of(key.target, who)
        if target is None:
            return None
        return {c: target.get(t) for c, t in zip(key.columns, key.target_columns, strict=True)}

    def _row_of(self, name: str, who: Who) -> Row | None:
        if name == USERS:
            return {"id": who.user_id}
        table = self._stage.model.tables.get(name)
        whose = {Who.ALICE: Whose.OWN, Who.BOB: Whose.SAME_TENANT}.get(who, Whose.OTHER_TENANT)
        return None if table is None else self._access.row(table, whose)

    def _all_but_users(self, table: Table, who: Who) -> dict[str, str | None]:
        """Every tenant's column and every parent at once: what hangs together by composite keys has to."""
        own = acts.owning(table, self._stage.model, self._stage.belonging)
        theirs = self._access.row(table, Whose.OTHER_TENANT if who is Who.MALLORY else Whose.OWN) or {}
        made = {name: theirs.get(name) for name in own.tenants}
        for key in own.parents:
            made |= {c: v for c, v in (self._leading(key, who) or {}).items() if c not in own.users}
        return {name: value for name, value in made.items() if value is not None}

    def _is_seen(self, name: str) -> bool:
        """Whether Alice reads Mallory's row of the parent: then hanging something on it may be meant."""
        parent = self._stage.model.tables.get(name)
        if parent is None:
            return True
        look = self._access.probe(parent, Whose.OTHER_TENANT, Command.SELECT, "authenticated")
        return look is None or self._try(parent, self._alice, look.statement, eyes=False)

    def _is_lost(self, table: Table, state: _State, row: Row, values: Mapping[str, str | None]) -> bool:
        """Whether Alice can change the row no more once it holds these values: it was hers by them."""
        after = {**row, **values}
        given = sql.SQL("update {} set {} where {}").format(
            relation(table),
            sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(c), literal(table, c, v)) for c, v in values.items()
            ),
            self._access.where(table, row),
        )
        again = self._set(table, after, values)
        return not self._try(table, replace(state, before=(*state.before, given)), again)

    # -- new rows ------------------------------------------------------------------------------------------

    def _new(self, table: Table, who: Who = Who.ALICE) -> Row:
        """Values for an INSERT of theirs; what is unique by itself gets another value."""
        return dict(self._world.given.get((self._access.seeded_in(table, who), who), {}))

    def _named(self, table: Table) -> Iterator[Wrong]:
        """INSERT with another in a user's column; where one column is bound to the writer, others say whom it is about."""
        own = acts.owning(table, self._stage.model, self._stage.belonging)
        row = self._new(table)
        if not row or not own.users or self._is_access_list(table):
            return
        for state in self._with_doors(table):
            free = [name for name in own.users if self._taken_name(table, row, name, state)]
            bound = set(own.users) - set(free)
            for name in free:
                if acts.ABOUT.search(name) and (bound or len(free) > 1 or acts.is_letter_box(table)):
                    continue
                if bound and not self._signs(table, name):
                    continue
                if (
                    self._cells.get((table.name, "authenticated", Command.INSERT, Whose.OTHER_TENANT))
                    is Answer.ALLOW
                ):
                    continue  # said of the whole row already
                statement = self._insert(table, row, {name: Who.BOB.user_id})
                yield self._wrong(Deed.NAMES, table, Command.INSERT, state, statement, name)

    def _taken_name(self, table: Table, row: Row, name: str, state: _State) -> bool:
        return any(
            self._try(table, state, self._insert(table, row, {name: who.user_id}))
            for who in (Who.BOB, Who.MALLORY)
        )

    def _signs(self, table: Table, name: str) -> bool:
        """Whether the column beside the bound one says who did it, too."""
        return name.endswith("_by") or any(
            w in name.lower() for w in ("author", "sender", "creator", "owner", "from_")
        )

    def _with_doors(self, table: Table) -> Iterator[_State]:
        """The world as it is, and with parents of Alice's and Mallory's in other states."""
        yield self._alice
        found: list[_State] = []
        for key in table.foreign_keys:
            parent = self._stage.model.tables.get(key.target)
            if parent is not None and asks(table, parent):
                for who in (Who.ALICE, Who.MALLORY):
                    found += islice(self._doors(parent, who), 1, None)
        yield from found[:_MOST]

    def _is_access_list(self, table: Table) -> bool:
        """Whether policies look users up in it: adding somebody to one's own is what it is for."""
        others = (t for t in self._stage.model.tables.values() if t.name != table.name)
        return (
            any(asks(other, table) for other in others)
            and bool(acts.owning(table, self._stage.model, self._stage.belonging).parents)
            and len(table.columns) <= 8
        )

    def _entered(self, table: Table) -> Iterator[Wrong]:
        """INSERT of an own row into a parent, or tenant, that is another's and that one may not even read."""
        own = acts.owning(table, self._stage.model, self._stage.belonging)
        row = self._new(table)
        theirs = self._access.row(table, Whose.OTHER_TENANT) or {}
        if not row or acts.is_letter_box(table):
            return
        ways: list[tuple[dict[str, str | None], str | None]] = [
            ({name: theirs[name]}, None) for name in own.tenants if theirs.get(name) is not None
        ]
        for key in own.parents:
            values = self._leading(key, Who.MALLORY)
            if values is not None:
                ways.append(({c: v for c, v in values.items() if c not in own.users}, key.target))
        everything = self._all_but_users(table, Who.MALLORY)
        if len(everything) > 1:
            ways.append((everything, own.parents[0].target if own.parents else None))
        for values, parent in ways:
            if (
                self._cells.get((table.name, "authenticated", Command.INSERT, Whose.OTHER_TENANT))
                is Answer.ALLOW
            ):
                return  # said of the whole row already
            statement = self._insert(table, row, values)
            for state in self._roles(table):
                if state.mighty or not self._try(table, state, statement):
                    continue
                if parent is None or not self._is_seen(parent):
                    yield self._wrong(Deed.ENTERS, table, Command.INSERT, state, statement, *values)

    # -- what comes of it ----------------------------------------------------------------------------------

    def _gained(self, table: Table) -> Iterator[Wrong]:
        """Writes after which more of others' rows is in reach, whatever the column is called."""
        asking = [t for t in self._stage.model.reachable if t.rls and asks(t, table)]
        if not asking:
            return
        can = table.reach.get("authenticated", frozenset())
        row = self._access.row(table, Whose.OWN)
        before: Reach | None = None
        for command, values, statement, base in self._ambitions(table, row):
            if command.value not in can or not self._try(table, base, statement):
                continue
            before = self._reach(asking, base.before)
            after = self._reach(asking, (*base.before, *self._eyes_off(statement)))
            more = {
                r
                for r in after - before
                if (r[1] is not Whose.OWN and r[0] != table.name) or r[1] is Whose.OTHER_TENANT
            }
            if more and not self._is_open_to_join(table, command):
                yield self._wrong(Deed.GAINS, table, command, base, statement, *values)

    def _eyes_off(self, statement: Statement) -> tuple[Statement, ...]:
        return (statement,)

    def _reach(self, asking: list[Table], before: tuple[Statement, ...]) -> Reach:
        return self._stage.ordinary.reach(asking, before)

    def _ambitions(
        self, table: Table, row: Row | None
    ) -> Iterator[tuple[Command, tuple[str, ...], Statement, _State]]:
        """Own row with another role; an own row in another's tenant; a row for oneself where there was none."""
        own = acts.owning(table, self._stage.model, self._stage.belonging)
        if row is not None and own.users:
            for change in self._role_steps(table, row):
                values = {change.column: change.value}
                yield Command.UPDATE, (change.column,), self._set(table, row, values), self._alice
            given = self._new(table)
            away = self._access.removal(table, row)
            for change in self._role_steps(table, row):
                values = {change.column: change.value}
                alone = replace(self._alice, before=(away,))
                yield Command.INSERT, (change.column,), self._insert(table, given, values), alone
        elsewhere = self._all_but_users(table, Who.MALLORY)
        mine = dict.fromkeys(own.users, Who.ALICE.user_id)
        if own.users and elsewhere and (given := self._new(table)):
            values = {**mine, **elsewhere}
            yield Command.INSERT, tuple(values), self._insert(table, given, values), self._alice
            for change in self._role_steps(table, row or {}):
                values = {**mine, **elsewhere, change.column: change.value}
                yield Command.INSERT, tuple(values), self._insert(table, given, values), self._alice

    def _role_steps(self, table: Table, row: Row) -> Iterator[Change]:
        changes = (
            change
            for column in table.columns
            if is_free(table, column, self._stage.belonging) and column.name in row
            for change in changes_of(table, column, row, self._texts)
        )
        return islice(changes, 2 * _MOST)

    def _is_open_to_join(self, table: Table, command: Command) -> bool:
        names = [p.name for p in table.policies if p.permissive and p.speaks(command.letter, "authenticated")]
        return command is Command.INSERT and any(PUBLIC.search(name) for name in names)

    # -- columns that others are to write --------------------------------------------------------------------

    def _reserved(self, table: Table) -> Iterator[Wrong]:
        row = self._access.row(table, Whose.OWN)
        if row is None:
            return
        personal = is_list(table, self._stage.belonging) or set(table.key) <= set(
            acts.owning(table, self._stage.model, self._stage.belonging).users
        )
        billed = acts.is_billed(table)
        found: dict[Command, list[str]] = {}
        for column in table.columns:
            if not (
                acts.reserved(table, column, personal=personal)
                or (billed and self._is_content(table, column))
            ):
                continue
            for command in (Command.UPDATE, Command.INSERT):
                if self._sets(table, row, column.name, command):
                    found.setdefault(command, []).append(column.name)
        for command, names in found.items():
            ways = tuple(
                p.name for p in table.policies if p.permissive and p.speaks(command.letter, "authenticated")
            )
            yield Wrong(Deed.RESERVED, table.name, "authenticated", (command,), ways, tuple(names))
            return

    def _is_content(self, table: Table, name: object) -> bool:
        column = name if not isinstance(name, str) else table.column(name)
        return is_free(table, column, self._stage.belonging) and not column.name.endswith("_at")  # type: ignore[attr-defined, arg-type]

    def _sets(self, table: Table, row: Row, name: str, command: Command) -> bool:
        column = table.column(name)
        allowed = tuple(v for c in table.checks if name in c.columns for v in literals(c.definition))
        if command.value not in table.reach.get("authenticated", ()):
            return False
        for value in islice(acts.another(column, row.get(name), allowed), 4):
            if command is Command.UPDATE:
                statement = self._set(table, row, {name: value})
                state = self._alice
            else:
                statement = self._insert(table, self._new(table), {name: value})
                state = replace(self._alice, before=(self._access.removal(table, row),))
            if self._try(table, state, statement):
                return True
        return False

    # -- rows of nobody --------------------------------------------------------------------------------------

    def _ownerless(self, table: Table) -> Iterator[Wrong]:
        row = self._access.row(table, Whose.OWNERLESS)
        if row is None or table.name not in self._stage.belonging.owned:
            return
        for command, statement in self._touch(table, Whose.OWNERLESS):
            if self._try(table, self._alice, statement):
                yield self._wrong(Deed.OWNERLESS, table, command, self._alice, statement)
        for values in self._takings(table) if "update" in table.reach.get("authenticated", ()) else ():
            statement = self._set(table, row, values)
            if not all(acts.ABOUT.search(c) for c in values) and self._try(table, self._alice, statement):
                yield self._wrong(Deed.OWNERLESS, table, Command.UPDATE, self._alice, statement, *values)

    def _nulls(self, table: Table) -> Iterator[Wrong]:
        """Somebody without an identity reaches what Alice, who has one, does not."""
        for whose in (Whose.OWNERLESS, Whose.OTHER_TENANT):
            if self._access.row(table, whose) is None or table.name not in self._stage.belonging.owned:
                continue
            for role, person in (
                ("anon", self._access.actors["anon"]),
                ("authenticated", self._stage.newcomer),
            ):
                for command in (Command.SELECT, Command.UPDATE, Command.DELETE):
                    probe = self._access.probe(table, whose, command, role)
                    if probe is None or command.value not in table.reach.get(role, ()):
                        continue
                    eyes = command is not Command.SELECT
                    if self._try(table, _State(person), probe.statement, eyes=eyes) and not self._try(
                        table, self._alice, probe.statement, eyes=eyes
                    ):
                        wrong = self._wrong(Deed.NULLS, table, command, _State(person), probe.statement)
                        if any(p.personal for p in table.policies if p.name in wrong.ways):
                            yield replace(wrong, role=role)


def _holds(table: Table, values: Mapping[str, str | None]) -> sql.Composed:
    return sql.SQL(" and ").join(
        sql.SQL("{} is not distinct from {}").format(sql.Identifier(c), literal(table, c, v))
        for c, v in values.items()
    )


def _both(door: _State, role: _State) -> _State:
    said = " and ".join(filter(None, (door.said, role.said)))
    return replace(role, before=(*door.before, *role.before), said=said, change=door.change)


def _with_claim(person: Actor, path: tuple[str, ...], value: str) -> Actor:
    claims = {**person.claims}
    place = claims
    for step in path[:-1]:
        place[step] = {**place.get(step, {})}
        place = place[step]
    place[path[-1]] = value
    return replace(person, claims=claims)

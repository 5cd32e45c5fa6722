"""What a client writes to rows that are not his, and whose rows he makes: each tried as Alice, and undone."""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

from realtime_toolkit.verify import acts
from realtime_toolkit.verify.access import Command, Whose
from realtime_toolkit.verify.attempts import State
from realtime_toolkit.verify.deeds import Deed, Wrong
from realtime_toolkit.verify.gaining import gains, reserved
from realtime_toolkit.verify.ordinary import asks
from realtime_toolkit.verify.seeding import Who
from realtime_toolkit.verify.sharing import Door, is_design
from realtime_toolkit.verify.strangers import asks_of_the_row
from realtime_toolkit.verify.variation import Change, update

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from realtime_toolkit.verify.attempts import Attempts, Values
    from realtime_toolkit.verify.probing import Statement
    from realtime_toolkit.verify.seeding import Row
    from realtime_toolkit.verify.tables import Table

    Kind = Callable[[Attempts, Table], Iterator[Wrong]]


def wrongs(attempts: Attempts, table: Table, *, inserted: bool) -> Iterator[Wrong]:
    """One of each kind; nothing where RLS is off, which is another's to say.

    ``inserted``: a row that is Mallory's altogether can be inserted, so that is said already.
    """
    can = table.reach.get("authenticated", frozenset())
    if not table.rls or table.name not in attempts.stage.belonging.owned:
        return
    kinds: list[Kind] = [nulls]
    if can & {"update", "delete"}:
        kinds += [unseen, behind_doors, for_reading, ownerless, removed]
    if "update" in can:
        kinds += [moved]
    if "insert" in can and not inserted:
        kinds += [named, entered]
    for kind in (*kinds, gains):
        yield from islice(kind(attempts, table), 1)
    yield from reserved(attempts, table)


# -- rows of others ------------------------------------------------------------------------------------------


def unseen(attempts: Attempts, table: Table) -> Iterator[Wrong]:
    """Rows that can be changed and not be read; as somebody mighty in one tenant, also those of another."""
    for whose in (Whose.OTHER_TENANT, Whose.SAME_TENANT):
        row = attempts.access.row(table, whose)
        if row is None or row == attempts.own(table):
            continue
        for state in attempts.roles(table):
            if state.mighty and table.name not in attempts.stage.belonging.shared:
                continue
            for command, statement in attempts.touch(table, whose):
                if not attempts.allowed(table, state, statement):
                    continue
                if not attempts.seen(table, state, whose):
                    yield attempts.wrong(Deed.UNSEEN, table, command, state, statement)
                elif whose is Whose.OTHER_TENANT and state.before and not state.mighty:
                    yield attempts.wrong(Deed.REACHES, table, command, state, statement)


def behind_doors(attempts: Attempts, table: Table) -> Iterator[Wrong]:
    """A stranger's row in another state, published say: changed, or taken over."""
    row = attempts.theirs(table)
    mine = list(_takings(attempts, table)) if "update" in table.reach["authenticated"] else []
    for door in attempts.doors(table, Who.MALLORY) if row is not None else ():
        for role in attempts.roles(table):
            if role.mighty or (role.before and not door.before and not mine):
                continue
            state = door.beside(role)
            yield from _through(attempts, table, state)
            yield from _taken(attempts, table, state, row or {}, mine)


def _through(attempts: Attempts, table: Table, state: State) -> Iterator[Wrong]:
    if state.change is None:
        return
    shared = is_design(Door(table.column(state.change.column), state.change.value, (), ()), writes=True)
    for command, statement in attempts.touch(table, Whose.OTHER_TENANT) if not shared else ():
        if attempts.allowed(table, state, statement):
            yield attempts.wrong(Deed.REACHES, table, command, state, statement)


def _taken(attempts: Attempts, table: Table, state: State, row: Row, mine: list[Values]) -> Iterator[Wrong]:
    for values in mine:
        statement = attempts.set(table, row, values)
        if attempts.allowed(table, state, statement):
            # Taking a task that one may see is no theft.
            about = all(acts.ABOUT.search(name) for name in values)
            if not about or not attempts.seen(table, state):
                yield attempts.wrong(Deed.TAKES, table, Command.UPDATE, state, statement, *values)


def _takings(attempts: Attempts, table: Table) -> Iterator[Values]:
    """What makes a row Alice's: each column by itself, and all of them."""
    own, alices = attempts.owning(table), attempts.own(table) or {}
    groups = [(name,) for name in (*own.users, *own.tenants)] + [key.columns for key in own.parents]
    whole = tuple(dict.fromkeys(chain.from_iterable(groups)))
    for group in dict.fromkeys((*groups, whole)):
        if group and not set(group) & set(table.key) and all(alices.get(c) is not None for c in group):
            yield {name: alices[name] for name in group}


def for_reading(attempts: Attempts, table: Table) -> Iterator[Wrong]:
    """A policy FOR ALL whose name speaks of reading, and that lets rows be changed."""
    suspects = {p.name for p in table.policies if p.permissive and acts.meant_for_reading(p)}
    for whose in (Whose.OWN, Whose.SAME_TENANT, Whose.OTHER_TENANT) if suspects else ():
        for state in attempts.doors(table, attempts.access.who(table, whose)):
            for command, statement in attempts.touch(table, whose):
                if attempts.allowed(table, state, statement):
                    wrong = attempts.wrong(Deed.READING, table, command, state, statement)
                    if suspects & set(wrong.ways):
                        yield Wrong(
                            Deed.READING,
                            table.name,
                            wrong.role,
                            command,
                            tuple(sorted(suspects & set(wrong.ways))),
                        )


def removed(attempts: Attempts, table: Table) -> Iterator[Wrong]:
    """What is shared, deleted by whom a role keeps from changing it. To leave by deleting an own row is another thing."""
    if attempts.owning(table).users or not {"update", "delete"} <= table.reach["authenticated"]:
        return
    if not any(p.permissive and p.command == "w" for p in table.policies) or attempts.own(table) is None:
        return
    acts_on = dict(attempts.touch(table, Whose.OWN))
    change, delete = acts_on.get(Command.UPDATE), acts_on.get(Command.DELETE)
    if change is None or delete is None:
        return
    for state in attempts.roles(table):
        if attempts.allowed(table, state, change):
            continue
        if attempts.allowed(table, state, delete):
            others = (s for s in attempts.roles(table) if attempts.allowed(table, s, change))
            if next(others, None) is not None:
                yield attempts.wrong(Deed.REMOVES, table, Command.DELETE, state, delete)


# -- rows of nobody ------------------------------------------------------------------------------------------


def ownerless(attempts: Attempts, table: Table) -> Iterator[Wrong]:
    """Rows of nobody, and Mallory's without an owner: changed or claimed by whoever comes."""
    for whose, state, column in _nobodys(attempts, table):
        pool = column is not None and bool(acts.ABOUT.search(column))
        if pool and not _is_walled(attempts, table):
            continue
        for command, statement in attempts.touch(table, whose):
            if (
                attempts.allowed(table, state, statement)
                and not attempts.allowed(table, attempts.alice, statement)
            ) or (column is None and attempts.allowed(table, state, statement)):
                yield attempts.wrong(Deed.OWNERLESS, table, command, state, statement)
        row = attempts.access.row(table, whose)
        for values in _takings(attempts, table) if row and "update" in table.reach["authenticated"] else ():
            statement = attempts.set(table, row or {}, values)
            counts = pool or not all(acts.ABOUT.search(c) for c in values)
            if counts and attempts.allowed(table, state, statement):
                yield attempts.wrong(Deed.OWNERLESS, table, Command.UPDATE, state, statement, *values)


def _nobodys(attempts: Attempts, table: Table) -> Iterator[tuple[Whose, State, str | None]]:
    if attempts.access.row(table, Whose.OWNERLESS) is not None:
        yield Whose.OWNERLESS, attempts.alice, None
    for name in attempts.owning(table).users if (table.name, Who.MALLORY) in attempts.world.rows else ():
        if not table.column(name).not_null and name not in table.key:
            left = update(attempts.access, table, Change(table.name, name, None), attempts.world)
            yield Whose.OTHER_TENANT, State(attempts.alice.person, (left,), f"where {name} is null"), name


def _is_walled(attempts: Attempts, table: Table) -> bool:
    """Whether a row belongs to a tenant besides, whom Alice has nothing to do with."""
    own = attempts.owning(table)
    return bool(own.tenants) or any(not attempts.is_seen(key.target) for key in own.parents)


def nulls(attempts: Attempts, table: Table) -> Iterator[Wrong]:
    """Somebody without an identity reaches what Alice, who has one, does not."""
    people = (State(attempts.access.actors["anon"]), State(attempts.stage.newcomer))
    for whose in (Whose.OWNERLESS, Whose.OTHER_TENANT):
        for nobody in people if attempts.access.row(table, whose) is not None else ():
            can = table.reach.get(nobody.person.role, frozenset())
            look = attempts.access.probe(table, whose, Command.SELECT, nobody.person.role)
            acts_on = [*attempts.touch(table, whose, nobody.person.role)]
            if look is not None and "select" in can:
                acts_on.insert(0, (Command.SELECT, look.statement))
            for command, statement in acts_on:
                eyes = command is not Command.SELECT
                if not attempts.allowed(table, nobody, statement, eyes=eyes):
                    continue
                if not attempts.allowed(table, attempts.alice, statement, eyes=eyes):
                    wrong = attempts.wrong(Deed.NULLS, table, command, nobody, statement)
                    if any(asks_of_the_row(table, p) for p in table.policies if p.name in wrong.ways):
                        yield wrong


# -- own rows, and new ones ----------------------------------------------------------------------------------


def moved(attempts: Attempts, table: Table) -> Iterator[Wrong]:
    """An own row that becomes a stranger's: hung on what cannot be read, or lost to the writer."""
    row = attempts.own(table)
    keys = set(table.key) - {name for key in table.foreign_keys for name in key.columns}
    for values, parent in _givings(attempts, table) if row is not None else ():
        if set(values) & keys or (parent is not None and acts.is_letter_box(table)):
            continue
        statement = attempts.set(table, row or {}, values)
        others = chain(islice(attempts.roles(table), 1, None), attempts.doors_above(table))
        for state in chain(attempts.doors(table, Who.ALICE), others):
            if state.mighty or not attempts.allowed(table, state, statement):
                continue
            hidden = parent is not None and not attempts.is_seen(parent)
            if hidden or _is_lost(attempts, table, state, row or {}, values):
                yield attempts.wrong(Deed.MOVES, table, Command.UPDATE, state, statement, *values)


def _givings(attempts: Attempts, table: Table) -> Iterator[tuple[Values, str | None]]:
    """What makes a row Mallory's, and the parent it leads to."""
    for name in attempts.owning(table).users:
        yield {name: Who.MALLORY.user_id}, None
    yield from attempts.elsewhere(table)


def _is_lost(
    attempts: Attempts, table: Table, state: State, row: Row, values: Mapping[str, str | None]
) -> bool:
    """Whether Alice can change the row no more once it holds these values: it was hers by them."""
    gone = state.after(attempts.change(table, row, values))
    return not attempts.allowed(table, gone, attempts.set(table, {**row, **values}, values))


def named(attempts: Attempts, table: Table) -> Iterator[Wrong]:
    """INSERT with another in a user's column; where one column is bound to the writer, others say whom it is about."""
    own, row = attempts.owning(table), attempts.given(table)
    if not row or not own.users or _is_access_list(attempts, table):
        return
    for state in chain((attempts.alice,), attempts.doors_above(table)):
        made = {name: _in_the_name(attempts, table, row, name, state) for name in own.users}
        free = [name for name, statement in made.items() if statement is not None]
        for name in free:
            about = acts.ABOUT.search(name) or (acts.SUBJECT.search(name) and _owns_a_parent(attempts, table))
            statement = made[name]
            if not about and statement is not None and (len(free) == len(made) or acts.SIGNING.search(name)):
                yield attempts.wrong(Deed.NAMES, table, Command.INSERT, state, statement, name)


def _in_the_name(attempts: Attempts, table: Table, row: Row, name: str, state: State) -> Statement | None:
    for who in (Who.BOB, Who.MALLORY):
        statement = attempts.insert(table, row, {name: who.user_id})
        if attempts.allowed(table, state, statement):
            return statement
    return None


def _owns_a_parent(attempts: Attempts, table: Table) -> bool:
    """A teacher grades the pupils of his lesson."""
    users = attempts.stage.belonging.users
    return any(users.get(key.target) for key in attempts.owning(table).parents)


def _is_access_list(attempts: Attempts, table: Table) -> bool:
    """Whether policies look users up in it: adding somebody to one's own is what it is for."""
    others = (t for t in attempts.stage.model.tables.values() if t.name != table.name)
    return (
        bool(attempts.owning(table).parents)
        and len(table.columns) <= 8
        and any(asks(o, table) for o in others)
    )


def entered(attempts: Attempts, table: Table) -> Iterator[Wrong]:
    """INSERT of an own row into a parent, or tenant, that is another's and that one may not even read."""
    row = attempts.given(table)
    if not row or acts.is_letter_box(table):
        return
    for values, parent in attempts.elsewhere(table):
        statement = attempts.insert(table, row, values)
        for state in attempts.roles(table):
            hidden = parent is None or not attempts.is_seen(parent)
            if hidden and not state.mighty and attempts.allowed(table, state, statement):
                yield attempts.wrong(Deed.ENTERS, table, Command.INSERT, state, statement, *values)

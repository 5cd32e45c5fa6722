"""What a client gains by rows of his own: more in reach afterwards, or a column that is not his to set."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from realtime_toolkit.verify import acts
from realtime_toolkit.verify.access import Command, Whose
from realtime_toolkit.verify.attempts import MOST, State
from realtime_toolkit.verify.deeds import Deed, Wrong
from realtime_toolkit.verify.names import parts
from realtime_toolkit.verify.ordinary import MIGHTY, asks, is_list
from realtime_toolkit.verify.seeding import Who
from realtime_toolkit.verify.sharing import PUBLIC
from realtime_toolkit.verify.values import literals
from realtime_toolkit.verify.variation import is_free

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_toolkit.verify.attempts import Attempts, Values
    from realtime_toolkit.verify.probing import Statement
    from realtime_toolkit.verify.seeding import Row
    from realtime_toolkit.verify.tables import Column, Table


@dataclass(frozen=True, slots=True)
class _Act:
    """A write by which Alice may gain; ``modest`` is what she may do anyway, by design."""

    command: Command
    columns: tuple[str, ...]
    statement: Statement
    state: State
    modest: tuple[Statement, ...] = ()


def gains(attempts: Attempts, table: Table) -> Iterator[Wrong]:
    """Writes after which more of others' rows is in reach, whatever the column is called."""
    asking = [t for t in attempts.stage.model.reachable if t.rls and asks(t, table)]
    can, reach = table.reach.get("authenticated", frozenset()), attempts.stage.ordinary.reach
    for act in _ambitions(attempts, table) if asking and attempts.owning(table).users else ():
        if act.command.value not in can or not attempts.allowed(table, act.state, act.statement):
            continue
        before = reach(asking, (*act.state.before, *act.modest))
        more = reach(asking, (*act.state.before, act.statement)) - before
        wider = any(whose is not Whose.OWN or (act.modest and name != table.name) for name, whose, _ in more)
        if wider and not _is_open_to_join(attempts, table, act):
            yield attempts.wrong(Deed.GAINS, table, act.command, act.state, act.statement, *act.columns)


def _ambitions(attempts: Attempts, table: Table) -> Iterator[_Act]:
    yield from _promotions(attempts, table)
    yield from _memberships(attempts, table)


def _promotions(attempts: Attempts, table: Table) -> Iterator[_Act]:
    """The own row with another role; and such a row for oneself where there was none."""
    row, given = attempts.own(table), attempts.given(table)
    steps = list(islice(attempts.steps(table, row or {}), 2 * MOST))
    for change in steps:
        yield _Act(
            Command.UPDATE,
            (change.column,),
            attempts.set(table, row or {}, {change.column: change.value}),
            attempts.alice,
        )
    alone = attempts.alice if row is None else attempts.alice.after(attempts.access.removal(table, row))
    if given and is_list(table, attempts.stage.belonging) and MIGHTY.search(parts(table.name)[-1]):
        mine: Values = dict.fromkeys(attempts.owning(table).users, Who.ALICE.user_id)
        yield _Act(Command.INSERT, tuple(mine), attempts.insert(table, given, mine), alone)
    for values in ({step.column: step.value} for step in steps) if given else ():
        yield _Act(Command.INSERT, tuple(values), attempts.insert(table, given, values), alone)


def _memberships(attempts: Attempts, table: Table) -> Iterator[_Act]:
    """A row for oneself in Mallory's tenant; and where joining is open, with a role of one's choice."""
    given, elsewhere = attempts.given(table), [values for values, _ in attempts.elsewhere(table)]
    if not given or not elsewhere:
        return
    values = {**dict.fromkeys(attempts.owning(table).users, Who.ALICE.user_id), **elsewhere[-1]}
    joining = attempts.insert(table, given, values)
    yield _Act(Command.INSERT, tuple(values), joining, attempts.alice)
    for state in (attempts.alice, *attempts.doors_above(table)):
        if attempts.allowed(table, state, joining):
            for change in islice(attempts.steps(table, attempts.own(table) or {}), MOST):
                statement = attempts.insert(table, given, {**values, change.column: change.value})
                yield _Act(Command.INSERT, (change.column,), statement, state, (joining,))


def _is_open_to_join(attempts: Attempts, table: Table, act: _Act) -> bool:
    """Whether some state of what is joined closes it, a flag say, or a policy's name says that anybody may."""
    if act.command is not Command.INSERT or act.modest or act.state.before:
        return False
    names = [p.name for p in table.policies if p.permissive and p.speaks("a", "authenticated")]
    closed = (not attempts.allowed(table, door, act.statement) for door in attempts.doors_above(table))
    return any(map(PUBLIC.search, names)) or any(closed)


def reserved(attempts: Attempts, table: Table) -> Iterator[Wrong]:
    """Columns of an own row that the server, or somebody mightier, is to write."""
    row, own = attempts.own(table), attempts.owning(table)
    one = any(
        set(columns) <= set(own.users)
        for columns in (table.key, *(u.columns for u in table.uniques))
        if columns
    )
    listed = one or bool(MIGHTY.search(parts(table.name)[-1]))
    personal = listed and is_list(table, attempts.stage.belonging)
    billed, can = acts.is_billed(table), table.reach.get("authenticated", frozenset())
    suspects = [
        column
        for column in table.columns
        if acts.reserved(table, column, personal=personal, bought=bool(own.users))
        or (billed and is_free(table, column, attempts.stage.belonging) and not column.name.endswith("_at"))
    ]
    for command in (Command.UPDATE, Command.INSERT) if row is not None else ():
        held = command.value in can
        names = tuple(c.name for c in suspects if held and _sets(attempts, table, row or {}, c, command))
        if names:
            ways = (
                p.name for p in table.policies if p.permissive and p.speaks(command.letter, "authenticated")
            )
            yield Wrong(Deed.RESERVED, table.name, "authenticated", command, tuple(ways), names)
            return


def _sets(attempts: Attempts, table: Table, row: Row, column: Column, command: Command) -> bool:
    allowed = tuple(v for c in table.checks if column.name in c.columns for v in literals(c.definition))
    for value in islice(acts.another(column, row.get(column.name), allowed), 4):
        if command is Command.UPDATE:
            state, statement = attempts.alice, attempts.set(table, row, {column.name: value})
        else:
            state = attempts.alice.after(attempts.access.removal(table, row))
            statement = attempts.insert(table, attempts.given(table), {column.name: value})
        if attempts.allowed(table, state, statement):
            return True
    return False

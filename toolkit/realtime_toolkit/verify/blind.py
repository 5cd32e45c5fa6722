"""Readers whom policies mean to let in and who see nothing, since what the policies ask is hidden from them.

A subquery in a policy runs with the rights of whoever asks, and under the policies of the tables in it. Where they hide the
membership that is asked for, the policy is silently false; where the role may not select from them, every read raises 42501.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import sql

from realtime_toolkit.verify.missed import Barred, Blind
from realtime_toolkit.verify.probing import Answer
from realtime_toolkit.verify.seeding import Who, relation
from realtime_toolkit.verify.variation import changes_of, update

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime_toolkit.verify.probing import Actor, Statement
    from realtime_toolkit.verify.reading import Reading
    from realtime_toolkit.verify.tables import Table

_MOST_STATES = 40


def barred(reading: Reading, tables: Sequence[Table]) -> Iterator[Barred]:
    """Tables whose reading raises 42501, by table; what the role may not select at all raises it rightly."""
    for table in tables:
        look = reading.look(table, Who.ALICE)
        if look is None or not table.rls:
            continue
        actors = reading.stage.access.actors
        roles = tuple(
            role
            for role in reading.readers(table)
            if _may_select_key(reading, table, role) and reading.sees(actors[role], look).sqlstate == "42501"
        )
        if roles:
            yield Barred(table.name, tuple(p.name for p in reading.policies(table)), roles)


def blind(reading: Reading, tables: Sequence[Table]) -> Iterator[Blind]:
    for table in tables:
        look = reading.look(table, Who.ALICE)
        if look is None or not table.rls or not reading.asked(table) or not reading.unbound:
            continue
        found = _unseen(reading, table, look) or _unseen_by_some(reading, table, look)
        if found is not None:
            yield found


def _unseen(reading: Reading, table: Table, look: Statement) -> Blind | None:
    """Nobody sees Alice's row, whatever the token and the state of the rows; and somebody is meant to."""
    meant: Actor | None = None
    for person, before in _situations(reading, table):
        result = reading.sees(person, look, before)
        if result.answer is not Answer.DENY or result.sqlstate:
            return None
        if meant is None and reading.means(person, table, look, before):
            meant = person
    return None if meant is None else _blind(reading, table, meant)


def _situations(reading: Reading, table: Table) -> Iterator[tuple[Actor, tuple[Statement, ...]]]:
    tokens = list(reading.tokens(table))
    for person in tokens:
        yield person, ()
    for state in _states(reading, table):
        yield from ((person, (state,)) for person in tokens[:2])


def _states(reading: Reading, table: Table) -> Iterator[Statement]:
    """Other values for what the policies look at, in Alice's row and in those of hers that they ask."""
    stage, left = reading.stage, _MOST_STATES
    texts = reading.texts(table) + "".join(reading.texts(other) for other in reading.asked(table))
    for other in (table, *reading.asked(table)):
        row = stage.seeder.world.rows.get((other.name, Who.ALICE))
        held = {*other.key, *(name for key in other.foreign_keys for name in key.columns)}
        held |= stage.belonging.users.get(other.name, frozenset())
        for column in other.columns if row is not None else ():
            if column.name in held or column.generated:
                continue
            for change in changes_of(other, column, row or {}, texts):
                if left > 0:
                    left -= 1
                    yield update(stage.access, other, change, stage.seeder.world, Who.ALICE)


def _unseen_by_some(reading: Reading, table: Table, look: Statement) -> Blind | None:
    """Alice sees her row only because she is something else besides: the policies do not ask for that."""
    person = reading.stage.access.actors["authenticated"]
    if "authenticated" not in reading.readers(table) or reading.sees(person, look).answer is not Answer.ALLOW:
        return None
    others = [(place, step) for place, step in _handed_over(reading, table)]
    named = any(
        not reading.means(person, table, look, (step,)) for _, step in others if _works(reading, step)
    )
    stranger = reading.stage.person(Who.MALLORY)
    for place, step in others if named else ():
        unseen = reading.sees(person, look, (step,))
        if unseen.answer is not Answer.DENY or unseen.sqlstate:
            continue
        if reading.means(person, table, look, (step,)) and not reading.means(stranger, table, look, (step,)):
            return _blind(reading, table, person, (step,), place)
    return None


def _handed_over(reading: Reading, table: Table) -> Iterator[tuple[str, Statement]]:
    """Each column of the tables asked that names Alice, with Mallory in her place."""
    for other in reading.asked(table):
        for column in sorted(reading.stage.belonging.users.get(other.name, ())):
            row = reading.stage.seeder.world.rows.get((other.name, Who.ALICE), {})
            if row.get(column) == Who.ALICE.user_id:
                step = reading.write(other, Who.ALICE, column, Who.MALLORY.user_id)
                if step is not None:
                    yield f"{other.name}.{column}", step


def _works(reading: Reading, step: Statement) -> bool:
    return reading.does(step).answer is Answer.ALLOW


def _blind(
    reading: Reading, table: Table, person: Actor, before: Sequence[Statement] = (), unless: str = ""
) -> Blind:
    hidden = tuple(
        other.name
        for other in reading.asked(table)
        if other.rls and reading.sees(person, _any_row(other), before).answer is not Answer.ALLOW
    )
    names = tuple(p.name for p in reading.policies(table) if p.permissive)
    return Blind(table.name, names, hidden, unless)


def _any_row(table: Table) -> Statement:
    return sql.SQL("select from {} limit 1").format(relation(table))


def _may_select_key(reading: Reading, table: Table, role: str) -> bool:
    row = reading.stage.connection.execute(
        "select bool_and(has_column_privilege(%s, %s, c, 'select')) from unnest(%s::text[]) c",
        (role, table.name, list(table.key or (column.name for column in table.columns))),
    ).fetchone()
    return bool(row and row[0])

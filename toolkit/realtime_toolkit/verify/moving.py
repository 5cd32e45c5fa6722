"""States that move a row out of its readers' sight: changed as who may change them, and looked at as who could read.

Realtime delivers an UPDATE to whoever sees the row after it, so a row that is hidden, archived or sold just stays on
everybody's screen. Nothing is lost where the change sends a broadcast that the reader may hear.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from realtime_toolkit.verify.channels import messages
from realtime_toolkit.verify.missed import Gone
from realtime_toolkit.verify.names import mentioned, parts
from realtime_toolkit.verify.probing import Answer, Result, identity, sqlstate_of, undone
from realtime_toolkit.verify.seeding import Who
from realtime_toolkit.verify.values import literals
from realtime_toolkit.verify.variation import changes_of, compared, is_free, update

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime_toolkit.verify.channels import Channels, Message
    from realtime_toolkit.verify.probing import Actor, Statement
    from realtime_toolkit.verify.reading import Reading
    from realtime_toolkit.verify.tables import Column, Policy, Table

_MOST_VALUES = 12
_TEXTS = ("text", "character varying")
_MOMENTS = ("2000-01-01", "2100-01-01")
_SHARING = re.compile(
    r"publi|shar|visib|privat|secret|draft|listed|access|audience|internal|confidential|only$", re.IGNORECASE
)
"""What says whom a row is for: to show it to fewer is a decision, and no end of the row."""
_ALIVE = re.compile(r"activ|enabl|alive|live|current|valid|open|avail", re.IGNORECASE)
"""What is true of a row that is not at its end."""
_SENDS = re.compile(r"\brealtime\s*\.\s*\"?(send|broadcast_changes)\b", re.IGNORECASE)
_BODIES = """
select format('%I.%I', n.nspname, f.proname), coalesce(pg_catalog.pg_get_function_sqlbody(f.oid), f.prosrc)
from pg_catalog.pg_proc f join pg_catalog.pg_namespace n on n.oid = f.pronamespace
where f.prokind in ('f', 'p') and n.nspname !~ '^(pg_|information_schema$|auth$|storage$|realtime)'
  and coalesce(pg_catalog.pg_get_function_sqlbody(f.oid), f.prosrc) ~* '\\mupdate\\M'
order by 1
"""


@dataclass(frozen=True, slots=True)
class _State:
    """A column that decides who sees the rows of a table, in it or in one that it refers to."""

    table: Table
    column: Column


def gone(reading: Reading, tables: Sequence[Table], channels: Channels | None) -> Iterator[Gone]:
    """The first change by table and column after which somebody has lost the row."""
    bodies = reading.stage.connection.execute(_BODIES.encode()).fetchall()
    for table in tables:
        if table.rls and reading.readers(table):
            mover = _Mover(reading, table, channels, bodies)
            for state in _states(reading, table):
                found = next(mover.lost(state), None)
                if found is not None:
                    yield found


def _states(reading: Reading, table: Table) -> Iterator[_State]:
    texts = reading.texts(table)
    for other in (table, *_parents(reading, table)):
        for column in other.columns:
            if not column.generated and mentioned(column.name, texts) and _is_state(reading, other, column):
                yield _State(other, column)


def _parents(reading: Reading, table: Table) -> list[Table]:
    """What its rows refer to and its policies look into; not people: what they lose with their role is meant."""
    found: dict[str, Table] = {}
    todo = [table]
    while todo:
        for key in todo.pop().foreign_keys:
            other = reading.stage.model.tables.get(key.target)
            if other is not None and other.name not in found and other in reading.asked(table):
                found[other.name] = other
                todo.append(other)
    users = reading.stage.belonging.users
    return [
        other
        for other in found.values()
        if not any(set(unique) <= users.get(other.name, frozenset()) for unique in _uniques(other))
    ]


def _uniques(table: Table) -> Iterator[tuple[str, ...]]:
    yield from (key for key in (table.key, *(unique.columns for unique in table.uniques)) if key)


def _is_state(reading: Reading, table: Table, column: Column) -> bool:
    held = {*table.key, *table.partition_key, *(name for key in table.foreign_keys for name in key.columns)}
    held |= reading.stage.belonging.users.get(table.name, frozenset())
    if column.name in held or _SHARING.search(column.name):
        return False
    if column.base.startswith("timestamp") or column.base == "date":
        return not column.not_null
    return column.base in ("boolean", *_TEXTS) or column.kind == "e"


def _later(column: Column, values: Sequence[str | None], number: int) -> Sequence[str | None]:
    """States that come after: those that a type or CHECK lists later; a moment that was not there; a flag that is set."""
    if column.base != "boolean":
        return values[number + 1 :] if column.kind == "e" or column.base in _TEXTS or number == 0 else ()
    if values[number] == "true":
        return ("false",) if _ALIVE.search(column.name) else ()
    return ("true",)


class _Mover:
    def __init__(
        self, reading: Reading, table: Table, channels: Channels | None, bodies: Sequence[tuple[str, str]]
    ) -> None:
        self._reading = reading
        self._stage = reading.stage
        self._table = table
        self._channels = channels
        self._bodies = bodies

    def lost(self, state: _State) -> Iterator[Gone]:
        values = self._values(state)
        for number, before in enumerate(values):
            for who in (Who.ALICE, Who.MALLORY):
                seen = self._seen(state, who, before)
                if before is None:  # at any time: when a row expires its readers know beforehand
                    seen = [
                        p for p in seen if not any(self._sees_in(state, p, who, value) for value in _MOMENTS)
                    ]
                for value in _later(state.column, values, number) if seen else ():
                    yield from self._changed(state, who, before, value, seen)

    def _values(self, state: _State) -> Sequence[str | None]:
        column, table = state.column, state.table
        told: list[str]
        if column.base == "boolean":
            return ["false", "true"]
        if column.kind == "e":
            return list(column.labels[:_MOST_VALUES])
        if column.base in _TEXTS:
            texts = [check.definition for check in table.checks if check.columns == (column.name,)]
            told = [value for text in texts for value in literals(text)]
            if not told:
                told = [*literals(column.default or ""), *compared(column, self._reading.texts(self._table))]
                told += _assigned(self._bodies, state)
            return [*dict.fromkeys(told)][:_MOST_VALUES]
        return [None, *_MOMENTS]

    def _readers(self, who: Who) -> list[Actor]:
        """Alice in each role, and Bob; of Mallory's row those who are not he."""
        actors = self._stage.access.actors
        found = [actors[role] for role in self._reading.readers(self._table)]
        if who is Who.ALICE and "authenticated" in self._reading.readers(self._table):
            found += [self._stage.person(Who.BOB), self._stage.person(Who.MALLORY)]
        return found

    def _seen(self, state: _State, who: Who, value: str | None) -> list[Actor]:
        """Who sees the row in that state."""
        look = self._reading.look(self._table, who)
        step = self._reading.write(state.table, who, state.column.name, value)
        if look is None or step is None:
            return []
        return [p for p in self._readers(who) if self._reading.sees(p, look, (step,)).answer is Answer.ALLOW]

    def _sees_in(self, state: _State, person: Actor, who: Who, value: str) -> bool:
        step = self._reading.write(state.table, who, state.column.name, value)
        return step is not None and self._still_sees(person, who, (step,))

    def _changed(
        self, state: _State, who: Who, before: str | None, value: str | None, seen: Sequence[Actor]
    ) -> Iterator[Gone]:
        reading, place = self._reading, f"{state.table.name}.{state.column.name}"
        first = reading.write(state.table, who, state.column.name, before)
        step = reading.write(state.table, who, state.column.name, value)
        assert first is not None
        assert step is not None
        losing = [p for p in seen if not self._still_sees(p, who, (first, step))]
        for by, writer, prepared in self._writers(state, who, value) if losing else ():
            told = self._told(writer, (first, *prepared), step, losing)
            untold = [p for p in losing if p not in (told or ())]
            if told is not None and self._is_theirs(state.column, who, untold):
                readers = tuple(dict.fromkeys(p.role for p in untold))
                yield Gone(self._table.name, self._guilty(state.column), place, value, by, readers)

    def _still_sees(self, person: Actor, who: Who, steps: Sequence[Statement]) -> bool:
        """Also where the change cannot be made: then nobody loses anything by it."""
        look = self._reading.look(self._table, who)
        assert look is not None
        result: Result = self._reading.sees(person, look, steps)
        return result.answer is not Answer.DENY or bool(result.sqlstate)

    def _writers(
        self, state: _State, who: Who, value: str | None
    ) -> Iterator[tuple[str, Actor | None, tuple[Statement, ...]]]:
        """Who can make that change: functions that do, and people whom the policies let; ``None`` stands for ourselves."""
        for name, body in self._bodies:
            if not _SENDS.search(body) and _sets(body, state, value):
                yield f"{name}()", None, ()
        for each in dict.fromkeys((who, Who.BOB)):
            yield "authenticated", self._stage.person(each), ()
        for step in self._promotions(state.table):
            yield "authenticated", self._stage.person(Who.BOB), (step,)

    def _promotions(self, table: Table) -> Iterator[Statement]:
        """What makes Bob somebody who may change the row: a role, a flag in a table that the policies for UPDATE ask."""
        texts = "\n".join(
            text
            for policy in table.policies
            if policy.speaks("w", "authenticated") and policy.permissive
            for text in (policy.using or "", *policy.functions.values())
        )
        for other in self._reading.asked(table):
            row = self._stage.seeder.world.rows.get((other.name, Who.BOB))
            for column in (
                other.columns if row is not None and mentioned(parts(other.name)[-1], texts) else ()
            ):
                if is_free(other, column, self._stage.belonging):
                    for change in list(changes_of(other, column, row or {}, texts))[:_MOST_VALUES]:
                        yield update(self._stage.access, other, change, self._stage.seeder.world, Who.BOB)

    def _told(
        self, writer: Actor | None, before: Sequence[Statement], step: Statement, losing: Sequence[Actor]
    ) -> list[Actor] | None:
        """Who of them may hear a broadcast of the change; ``None`` where it cannot be made."""
        connection = self._stage.connection
        with undone(connection):
            try:
                for statement in before:
                    connection.execute(statement)
                there = messages(connection) if self._channels else []
                if writer is not None:
                    connection.execute(identity(writer))
                made = connection.execute(step).rowcount
                if writer is not None:
                    connection.execute(b"reset role")
            except psycopg.Error as error:
                sqlstate_of(error)
                return None
            if made == 0:
                return None
            sent = messages(connection, there) if self._channels else []
            return [p for p in losing if any(self._hears(p, message) for message in sent)]

    def _hears(self, person: Actor, message: Message) -> bool:
        assert self._channels is not None
        return not message.private or self._channels.anybody_joins((person,), message.topic)

    def _is_theirs(self, column: Column, who: Who, losing: Sequence[Actor]) -> bool:
        """They are the row's own people; others, who no longer see what was taken back, are meant not to."""
        nobodys = self._table.name not in self._reading.stage.belonging.users  # a team's: every member's
        own = any(nobodys or p.claims.get("sub") == who.user_id for p in losing)
        return own and any(policy.personal for policy in self._deciding(column))

    def _guilty(self, column: Column) -> tuple[str, ...]:
        return tuple(policy.name for policy in self._deciding(column))

    def _deciding(self, column: Column) -> tuple[Policy, ...]:
        policies = self._reading.policies(self._table)
        return tuple(p for p in policies if mentioned(column.name, p.using or "")) or policies


def _sets(body: str, state: _State, value: str | None) -> bool:
    """Whether some UPDATE of the table in the body sets the column to a value of that kind."""
    return any(_is_meant(written, state.column, value) for written in _written(body, state))


def _written(body: str, state: _State) -> Iterator[str]:
    """What UPDATEs of the table in the body assign to the column."""
    table, column = re.escape(parts(state.table.name)[-1]), re.escape(state.column.name)
    for statement in re.finditer(
        rf'\bupdate\s+(?:only\s+)?(?:[\w"]+\.)?"?{table}"?\b([^;]*)', body, re.IGNORECASE
    ):
        assigned = re.search(
            rf'\bset\b.*?(?<![\w.]){column}"?\s*=\s*([^,;]*)', statement[1], re.I | re.DOTALL
        )
        if assigned is not None:
            yield assigned[1]


def _assigned(bodies: Sequence[tuple[str, str]], state: _State) -> Iterator[str]:
    for _, body in bodies:
        for written in _written(body, state):
            yield from literals(written)[:1]


def _is_meant(written: str, column: Column, value: str | None) -> bool:
    """A literal is that value; what is computed or given may be any."""
    word = written.strip().lower()
    if column.base == "boolean":
        return not word.startswith({"true": "false", "false": "true"}[value or "true"])
    if value is None:
        return word.startswith("null")
    if column.kind != "e" and column.base not in _TEXTS:
        return not word.startswith("null")
    told = re.match(r"'([^']*)'", written.strip())
    return told is None or told[1] == value

"""Call what clients may call, with somebody else's rows as arguments, and see what comes back and what has changed.

Judged are SECURITY DEFINER functions: the others do what the policies let their caller do. A call is made in a savepoint
that is rolled back. What comes back is compared with marks that were put into the stranger's rows before, what has
changed with the rows as they were.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from realtime_toolkit.verify.access import Command, Whose
from realtime_toolkit.verify.arguments import calls
from realtime_toolkit.verify.catalogue import facts
from realtime_toolkit.verify.functions import (
    acts_outside,
    asks_who_calls,
    read_functions,
    tables_in,
    whole_source,
)
from realtime_toolkit.verify.marks import Marks, email_of, is_counted, put_marks
from realtime_toolkit.verify.probing import Answer, identity
from realtime_toolkit.verify.seeding import PEOPLE, Who, relation
from realtime_toolkit.verify.session import set_local, settings
from realtime_toolkit.verify.trials import Called, Harm

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from realtime_toolkit.verify.access import Access
    from realtime_toolkit.verify.arguments import Arguments
    from realtime_toolkit.verify.functions import Function
    from realtime_toolkit.verify.ownership import Belonging
    from realtime_toolkit.verify.seeding import World
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Model, Table

ROLES = ("anon", "authenticated")
_LANGUAGES = ("sql", "plpgsql")
_REFUSED = re.compile(r"42501|P000\d|28000|PT4\d\d|0L000")
"""What a function raises that does not want to."""
_PEOPLE = tuple(who.user_id for who in (Who.MALLORY, Who.ALICE, Who.BOB))
_ROWS = 500
_TIMEOUT = "2s"
_RECORDS = re.compile(r"(^|_)(audit|log|logs|history|events?|activit(y|ies))(_|$)", re.IGNORECASE)
_TOUCHED = re.compile(r"^(updated|modified|changed|last_\w+)_?(at|on|by|in)$|^version$", re.IGNORECASE)

State = dict[tuple[str, str], dict[str, Any]]
"""(table, key as text) → the row."""


def call_functions(
    connection: Connection,
    model: Model,
    belonging: Belonging,
    access: Access,
    world: World,
    schemas: Sequence[str] = (),
) -> Called:
    """Every SECURITY DEFINER function that clients may call, as each of them, in the caller's transaction."""
    called = Called()
    with connection.transaction(force_rollback=True):
        settings(connection, schemas)
        set_local(connection, "search_path", "pg_catalog")
        functions = read_functions(connection, facts())
    judged = [f for f in functions if f.definer and f.roles]
    if not judged:
        return called
    with connection.transaction(force_rollback=True):
        set_local(connection, "statement_timeout", _TIMEOUT)
        sources = {f.signature: whole_source(f, functions) for f in judged}
        named = {f.signature: tables_in(sources[f.signature], model.tables) for f in judged}
        trial = Trial(connection, model, belonging, access, world)
        trial.prepare({t.name: t for tables in named.values() for t in tables}.values())
        for function in judged:
            trial.judge(function, sources[function.signature], named[function.signature], called)
    return called


class Trial:
    """Calls functions and compares."""

    def __init__(
        self, connection: Connection, model: Model, belonging: Belonging, access: Access, world: World
    ) -> None:
        self._connection = connection
        self._model = model
        self._belonging = belonging
        self._access = access
        self._world = world
        self._marks = Marks()

    def prepare(self, tables: Iterable[Table]) -> None:
        """Ask what each role can do by itself before the stranger's rows are marked."""
        there = list(tables)
        for role in ROLES:
            for table in there:
                for command in Command:
                    self._may(table, command, role)
        self._marks = put_marks(self._connection, there, self._belonging, self._world)
        self._hidden = [t for t in self._model.tables.values() if self._is_hidden(t)]
        seen = self._opened("authenticated")  # a mark may have opened some
        self._hidden = [t for t in self._hidden if t.name not in seen]

    def _may(self, table: Table, command: Command, role: str) -> bool:
        """Whether the role may do that to a stranger's row by itself."""
        owned = table.name in self._belonging.owned
        whose = Whose.OTHER_TENANT if owned else Whose.OWNERLESS
        return self._access.answer(table, whose, command, role).answer is Answer.ALLOW

    def _is_hidden(self, table: Table) -> bool:
        """Whether somebody who is signed in does not see the stranger's row."""
        owned = table.rls and table.name in self._belonging.owned
        there = (table.name, Who.MALLORY) in self._world.rows
        return owned and there and not self._may(table, Command.SELECT, "authenticated")

    # -- one function ----------------------------------------------------------------------------------------

    def judge(self, function: Function, source: str, named: Sequence[Table], called: Called) -> None:
        why = self._unfit(function, source, named)
        if why:
            called.undecided[function.signature] = why
            return
        asks = asks_who_calls(source)
        meant = [*named, *(t for t in self._beyond(named) if t not in named)]
        rows = {t.name: self._marks.row(t, self._world) for t in meant}
        errors = set[str]()
        ran = False
        for role in function.roles:
            for arguments in calls(function, meant, rows, _PEOPLE):
                outcome = self._call(function, role, arguments, source, named)
                if isinstance(outcome, str):
                    errors.add(outcome)
                    ran = ran or _REFUSED.match(outcome) is not None
                    continue
                ran = True
                harm = self._harm(function, role, arguments, outcome, named, asks)
                if harm is not None:
                    called.harms.append(harm)
                    break
        if not ran and not asks:
            called.undecided[function.signature] = (
                f"no arguments were found under which it runs ({', '.join(sorted(errors))})"
            )

    def _unfit(self, function: Function, source: str, named: Sequence[Table]) -> str:
        if function.language not in _LANGUAGES:
            return f"it is written in {function.language}, so it was not called"
        outside = acts_outside(source)
        if outside:
            return f"it calls {outside}, which no rollback undoes, so it was not called"
        failed = [t.name for t in named if t.name in self._world.failed]
        if failed and not asks_who_calls(source):
            return f"it names {failed[0]}, in which no row could be made ({self._world.failed[failed[0]]})"
        return ""

    def _beyond(self, named: Sequence[Table]) -> Iterator[Table]:
        for table in named:
            for key in table.foreign_keys:
                if key.target in self._model.tables:
                    yield self._model.tables[key.target]

    def _call(
        self, function: Function, role: str, arguments: Arguments, source: str, named: Sequence[Table]
    ) -> Outcome | str:
        """What came of it, or the SQLSTATE that it ended with."""
        watched = _watched(source, named)
        try:
            with self._connection.transaction(force_rollback=True):
                before = self._state(watched)
                self._connection.execute(identity(self._access.actors[role]))
                text = self._connection.execute(_statement(function, arguments)).fetchall()
                opened: tuple[str, ...] = ()
                self._as_ourselves()
                after = self._state(watched)
                if role == "authenticated" and before != after:
                    opened = self._opened(role)
                return Outcome("\n".join(row[0] or "" for row in text), before, after, opened)
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise
            return error.sqlstate

    def _as_ourselves(self) -> None:
        set_local(self._connection, "role", "none")
        set_local(self._connection, "request.jwt.claims", "")

    def _state(self, watched: Sequence[str]) -> State:
        """The rows of these tables, keyed: those of our people, and of large tables some others."""
        state: State = {}
        for name in watched:
            table = self._model.tables.get(name)
            key = table.key if table is not None else ("id",)
            for (text,) in self._connection.execute(self._rows_query(name, table)):
                row = json.loads(text)
                state[name, json.dumps([row.get(c) for c in key]) if key else text] = row
        return state

    def _rows_query(self, name: str, table: Table | None) -> sql.Composed:
        rows = [self._world.rows.get((name, who)) for who in PEOPLE]
        if table is None:
            ours = sql.SQL("id = any ({}::uuid[])").format(sql.Literal(list(_PEOPLE)))
        else:
            wheres = [self._access.where(table, row) for row in rows if row is not None]
            ours = sql.SQL("({})").format(sql.SQL(") or (").join([*wheres, sql.SQL("false")]))
        one = sql.SQL("select pg_catalog.to_jsonb(t)::text from {} t").format(sql.SQL(name))
        return sql.SQL("({} where {}) union (select * from ({} limit {}) s)").format(
            one, ours, one, sql.Literal(_ROWS)
        )

    def _opened(self, role: str) -> tuple[str, ...]:
        """Tables of which the caller can now read the stranger's row, and could not before."""
        if not self._hidden:
            return ()
        asked = [
            sql.SQL("select {} where exists (select from {} where {})").format(
                sql.Literal(t.name), relation(t), self._access.where(t, self._world.rows[t.name, Who.MALLORY])
            )
            for t in self._hidden
        ]
        try:
            with self._connection.transaction(force_rollback=True):
                self._connection.execute(identity(self._access.actors[role]))
                found = self._connection.execute(sql.SQL(" union all ").join(asked)).fetchall()
        except psycopg.Error:
            return ()
        return tuple(name for (name,) in found)

    # -- what came of it --------------------------------------------------------------------------------------

    def _harm(
        self,
        function: Function,
        role: str,
        arguments: Arguments,
        outcome: Outcome,
        named: Sequence[Table],
        asks: bool,
    ) -> Harm | None:
        changed = self._changed(role, outcome, asks) or self._entered(outcome)
        if changed:
            return Harm(function.signature, role, "change", tuple(sorted(changed)), asks)
        shown = self._shown(function, role, arguments, outcome, named)
        return Harm(function.signature, role, "read", shown, asks) if shown else None

    def _shown(
        self, function: Function, role: str, arguments: Arguments, outcome: Outcome, named: Sequence[Table]
    ) -> tuple[str, ...]:
        given = {value for _, value in arguments}
        found = set[str]()
        for table in named:
            readable = self._readable(table, role)
            for mark in self._marks.of(table, self._world, self._belonging, many=function.many):
                if mark.column not in readable and mark.text not in given and mark.is_in(outcome.text):
                    found.add(table.name)
        address = email_of(Who.MALLORY)
        users = "auth.users" in {name for name, _ in outcome.before}
        if users and address not in given and address in outcome.text:
            found.add("auth.users")
        return tuple(sorted(found))

    def _readable(self, table: Table, role: str) -> frozenset[str]:
        """Columns of the stranger's row that the role reads by itself."""
        if not self._may(table, Command.SELECT, role):
            return frozenset()
        asked = sql.SQL("select c from unnest({}::text[]) c where has_column_privilege({}, {}, c, 'select')")
        names = [column.name for column in table.columns]
        found = self._connection.execute(
            asked.format(sql.Literal(names), sql.Literal(role), sql.Literal(table.name))
        )
        return frozenset(name for (name,) in found)

    def _changed(self, role: str, outcome: Outcome, asks: bool) -> set[str]:
        """Tables in which rows of strangers changed that the role cannot change so by itself."""
        found = set[str]()
        for (name, key), before, after in outcome.differences():
            table = self._model.tables.get(name)
            row = after or before or {}
            if self._is_own(table, row) and role == "authenticated":
                if asks and not _RECORDS.search(name):
                    return set()  # something between the two
                continue
            if self._is_strange(name, table, key, row, role) and not self._is_fair(
                table, role, before, after, asks
            ):
                found.add(name)
        return found

    def _entered(self, outcome: Outcome) -> set[str]:
        """Tables of which the caller sees a stranger's row now, having changed a row of their own or made one that
        refers to what was hidden. Joining what could be seen before is no harm."""
        opened = set(outcome.opened)
        for (name, _), before, after in outcome.differences() if opened else ():
            table = self._model.tables.get(name)
            if table is None or after is None or not self._is_own(table, after):
                continue
            if before is not None or opened & {key.target for key in table.foreign_keys}:
                return opened
        return set()

    def _is_own(self, table: Table | None, row: dict[str, Any]) -> bool:
        return table is not None and any(
            str(row.get(c)) == Who.ALICE.user_id for c in self._belonging.users.get(table.name, ())
        )

    def _is_strange(self, name: str, table: Table | None, key: str, row: dict[str, Any], role: str) -> bool:
        strangers = (Who.MALLORY,) if role == "authenticated" else PEOPLE
        if table is None:  # auth.users
            return key in {json.dumps([who.user_id]) for who in strangers}
        if name not in self._belonging.owned:
            return True
        own = self._world.rows.get((name, Who.ALICE), {}) if role == "authenticated" else {}
        telling = {*table.key, *self._belonging.users.get(name, ()), *self._belonging.tenants.get(name, ())}
        telling |= {column for foreign in table.foreign_keys for column in foreign.columns}
        for who in strangers:
            theirs = self._world.rows.get((name, who), {})
            for column in telling:
                value = row.get(column)
                if value is not None and str(value) == theirs.get(column) != own.get(column):
                    return True
        return False

    def _is_fair(
        self,
        table: Table | None,
        role: str,
        before: dict[str, Any] | None,
        after: dict[str, Any] | None,
        asks: bool,
    ) -> bool:
        if table is None:
            return False
        command = Command.INSERT if before is None else Command.DELETE if after is None else Command.UPDATE
        if self._may(table, command, role):
            return True
        owned = table.name in self._belonging.owned
        if before is None:
            # To send somebody something is what such functions are for, where the sender is known.
            people = self._belonging.users.get(table.name, frozenset())
            return asks or not owned or not any((after or {}).get(c) is not None for c in people)
        if not owned and asks:
            return True
        if after is None:
            return False
        differing = [c for c in before if before[c] != after.get(c) and not _TOUCHED.search(c)]
        return not differing or all(is_counted(c, before[c], after.get(c)) for c in differing)


@dataclass(frozen=True, slots=True)
class Outcome:
    text: str
    """All that came back."""
    before: State
    after: State
    opened: tuple[str, ...]

    def differences(self) -> Iterator[tuple[tuple[str, str], dict[str, Any] | None, dict[str, Any] | None]]:
        for place in {**self.before, **self.after}:
            before, after = self.before.get(place), self.after.get(place)
            if before != after:
                yield place, before, after


def _watched(source: str, named: Sequence[Table]) -> list[str]:
    users = ["auth.users"] if re.search(r'\bauth\s*\.\s*"?users\b', source, re.IGNORECASE) else []
    return [*(t.name for t in named if t.kind in ("r", "p") and not t.partitions), *users]


def _statement(function: Function, arguments: Arguments) -> sql.Composed:
    """Everything that it returns as text. By name where parameters have names, for some may be left out."""
    given = []
    for place, value in arguments:
        parameter = function.parameters[place]
        literal = sql.SQL("null") if value is None else sql.Literal(value)
        cast = literal + sql.SQL("::" + parameter.type)
        given.append(
            sql.SQL("{} => {}").format(sql.Identifier(parameter.name), cast)
            if all(p.name for p in function.parameters)
            else cast
        )
    return sql.SQL("select ({}({}))::text limit {}").format(
        sql.SQL(function.call), sql.SQL(", ").join(given), sql.Literal(_ROWS)
    )

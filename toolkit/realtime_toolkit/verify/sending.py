"""What triggers broadcast when rows change, and who may hear it: changes are made, and the messages read.

``realtime.send`` inserts into ``realtime.messages``, so that within the transaction that is rolled back anyhow each
message can be looked at: its topic, whether that is private, and which of the row's values it carries. Then the topic
is joined as Realtime would (:mod:`realtime_toolkit.verify.channels`) and set against who may read the row itself.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from realtime_toolkit.verify.access import Command, Whose
from realtime_toolkit.verify.channels import messages
from realtime_toolkit.verify.names import mentioned
from realtime_toolkit.verify.probing import Answer, attempt, sqlstate_of
from realtime_toolkit.verify.seeding import Who, insert_statement, literal, relation, spelled_out
from realtime_toolkit.verify.sent import Broadcasts, Hearer, Left, Sent, Silent
from realtime_toolkit.verify.values import guesses, literals
from realtime_toolkit.verify.variation import is_free

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from realtime_toolkit.verify.channels import Channels, Message
    from realtime_toolkit.verify.probing import Statement
    from realtime_toolkit.verify.seeding import Row
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.stage import Stage
    from realtime_toolkit.verify.tables import Column, Table

_MOST_CHANGES = 24
_ROLES = ("authenticated", "anon")


@dataclass(frozen=True, slots=True)
class Sender:
    """A row trigger and the function that it runs."""

    table: str
    trigger: str
    function: str
    """Its signature, as ``regprocedure`` writes it."""
    text: str
    """The trigger's definition and the function's body."""
    sends: bool
    """The body calls ``realtime.send`` and the like; else a function that it calls may."""
    events: frozenset[Command]


def broadcasts(stage: Stage, channels: Channels) -> Broadcasts:
    """Make every change that triggers look at, and gather what was sent."""
    by_table: dict[str, list[Sender]] = defaultdict(list)
    for sender in _senders(stage.connection):
        if sender.table in stage.model.tables:
            by_table[sender.table].append(sender)
    found = [
        _Table(stage, channels, stage.model.tables[name], tuple(senders)).probed()
        for name, senders in sorted(by_table.items())
    ]
    return Broadcasts(
        tuple(sent for each in found for sent in each.sent),
        tuple(silent for each in found for silent in each.silent),
        tuple(left for each in found for left in each.left),
    )


_SENDS = r"\mrealtime\s*\.\s*\"?(send|send_binary|broadcast_changes)\"?\s*\("
_ROW_TRIGGERS = f"""
with recursive calling as (
  select f.oid, f.oid as calls from pg_catalog.pg_proc f where f.prosrc ~* '{_SENDS}'
  union
  select f.oid, c.calls from calling c join pg_catalog.pg_proc o on o.oid = c.oid
  join pg_catalog.pg_proc f on f.prosrc ~ ('\\m' || regexp_replace(o.proname, '\\W', '.', 'g') || '"?\\s*\\(')
    and f.oid <> o.oid and f.pronamespace <> 'pg_catalog'::regnamespace
)
select format('%I.%I', n.nspname, c.relname), g.tgname::text, format('%I.%I()', o.nspname, f.proname),
  pg_catalog.pg_get_triggerdef(g.oid) || E'\\n' || f.prosrc, f.prosrc ~* '{_SENDS}', g.tgtype::int
from pg_catalog.pg_trigger g
join pg_catalog.pg_class c on c.oid = g.tgrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_proc f on f.oid = g.tgfoid join pg_catalog.pg_namespace o on o.oid = f.pronamespace
where not g.tgisinternal and g.tgenabled in ('O', 'A') and f.oid in (select oid from calling)
order by 1, 2
"""
_EVENTS = {Command.INSERT: 4, Command.DELETE: 8, Command.UPDATE: 16}
"""Bits of ``pg_trigger.tgtype``."""


def _senders(connection: Connection) -> Iterator[Sender]:
    for table, trigger, function, text, sends, kind in connection.execute(_ROW_TRIGGERS.encode()).fetchall():
        events = frozenset(command for command, bit in _EVENTS.items() if kind & bit)
        yield Sender(table, trigger, function, text, sends, events)


@dataclass(slots=True)
class _Heard:
    command: Command
    whose: Whose
    row: Row
    message: Message
    changed: str | None
    """The column that was changed."""
    now: Row
    hearers: tuple[Hearer, ...]
    joined: bool


class _Table:
    """The probes of one table."""

    def __init__(self, stage: Stage, channels: Channels, table: Table, senders: Sequence[Sender]) -> None:
        self._stage = stage
        self._channels = channels
        self._table = table
        self._senders = senders
        self._warnings: list[str] = []
        self._tokens: dict[Who, str] = {}
        self._fill: list[Column] | None = None
        self._done = 0

    def probed(self) -> Broadcasts:
        connection = self._stage.connection
        connection.add_notice_handler(self._note)
        rows = self._stage.access.rows_of(self._table)
        try:
            heard = [h for whose in rows for h in self._changes_of(whose)]
            if Whose.OTHER_TENANT in rows:
                heard += self._as_a_guest()
        finally:
            connection.remove_notice_handler(self._note)
        return Broadcasts(tuple(self._sent(heard)), tuple(self._silent(heard)), tuple(self._left(heard)))

    def _note(self, said: psycopg.errors.Diagnostic) -> None:
        if said.severity_nonlocalized == "WARNING":
            self._warnings.append(f"{said.message_primary} ({said.sqlstate})")

    def _as_a_guest(self) -> list[_Heard]:
        """The same of Mallory's row once Alice is a member, guest or subscriber of what is Mallory's."""
        stage = self._stage
        with stage.connection.transaction(force_rollback=True):
            joined = [name for name in stage.belonging.users if self._join(name)]
            return list(self._changes_of(Whose.OTHER_TENANT)) if joined else []

    def _join(self, name: str) -> bool:
        """Give Alice a row like Mallory's in a table that ties users to something else."""
        stage, table = self._stage, self._stage.model.tables.get(name)
        theirs = stage.seeder.world.rows.get((name, Who.MALLORY))
        if table is None or theirs is None or table is self._table:
            return False
        users = stage.belonging.users[name]
        others = [
            k for k in table.foreign_keys if k.target in stage.belonging.owned and not set(k.columns) & users
        ]
        if not others:
            return False
        row = {**theirs, **dict.fromkeys(users, Who.ALICE.user_id)}
        for column in table.key:
            if row[column] == theirs[column] and (
                table.column(column).default or table.column(column).identity
            ):
                row[column] = stage.seeder.fresh(table.column(column))
        try:
            with stage.connection.transaction():
                return stage.connection.execute(spelled_out(table, row)).rowcount > 0
        except psycopg.Error as error:
            sqlstate_of(error)
            return False

    # -- changing --------------------------------------------------------------------------------------------

    def _changes_of(self, whose: Whose) -> Iterator[_Heard]:
        events = frozenset(event for sender in self._senders for event in sender.events)
        for command, column, statement, before in self._statements(whose):
            if command in events:
                yield from self._heard(whose, command, column, statement, before)

    def _statements(
        self, whose: Whose
    ) -> Iterator[tuple[Command, str | None, Statement, Sequence[Statement]]]:
        access, table = self._stage.access, self._table
        for command in (Command.INSERT, Command.DELETE):
            probe = access.probe(table, whose, command, "service_role")
            if probe is not None:
                yield command, None, probe.statement, probe.before
        yield from self._inserts(whose)
        row = access.row(table, whose)
        if row is None:
            return
        for column, value in list(self._values(row))[:_MOST_CHANGES]:
            statement = sql.SQL("update {} set {} = {} where {}").format(
                relation(table), sql.Identifier(column.name), value, access.where(table, row)
            )
            yield Command.UPDATE, column.name, statement, ()

    def _inserts(self, whose: Whose) -> Iterator[tuple[Command, str | None, Statement, Sequence[Statement]]]:
        """New rows in the other states that policies know: a draft, a private one."""
        probe = self._stage.access.probe(self._table, whose, Command.INSERT, "service_role")
        given = self._stage.seeder.world.given.get(
            (self._table.name, self._stage.access.who(self._table, whose))
        )
        row = self._stage.access.row(self._table, whose)
        if probe is None or given is None or row is None:
            return
        policies = " ".join(policy.text for policy in self._table.policies)
        for column in self._table.columns:
            if is_free(self._table, column, self._stage.belonging) and mentioned(column.name, policies):
                for value in self._others(column, row, policies)[:3]:
                    statement = insert_statement(self._table, {**given, column.name: value})
                    yield Command.INSERT, None, statement, probe.before

    def _values(self, row: Row) -> Iterator[tuple[Column, sql.Composable]]:
        """Another value for each column that can have one: those that the triggers speak of first."""
        texts = "\n".join(sender.text for sender in self._senders)
        columns = [c for c in self._table.columns if not c.generated]
        columns.sort(key=lambda c: not mentioned(c.name, texts))
        for column in columns:
            for value in self._others(column, row, texts):
                yield column, literal(self._table, column.name, value)

    def _others(self, column: Column, row: Row, texts: str) -> list[str | None]:
        table, belonging = self._table, self._stage.belonging
        if not is_free(table, column, belonging):
            return self._of_somebody_else(column)
        now, told = row.get(column.name), literals(texts)
        found: list[str | None]
        if column.base == "boolean":
            found = ["false" if now == "true" else "true"]
        elif column.kind == "e":
            found = [*column.labels]
        elif column.base in ("text", "character varying", "citext"):
            found = [*told[:8]] if mentioned(column.name, texts) else []
            checks = [check for check in table.checks if check.columns == (column.name,)]
            found += [made[column.name] for check in checks for made in islice(guesses(check, (column,)), 4)]
            found.append(f"{now or ''}z"[-(column.length or 1000) :])
        elif column.base in ("smallint", "integer", "bigint", "numeric", "real", "double precision"):
            found = [str(int(float(now)) + 1) if now not in (None, "NaN") else "1"]
        elif column.base.startswith("timestamp") or column.base == "date":
            found = ["2031-01-01"] if now is None else ["2031-01-01", None]
        elif column.base in ("json", "jsonb"):
            found = ['{"probe": 1}']
        else:
            found = []
        return [value for value in dict.fromkeys(found) if value != now and (value or not column.not_null)]

    def _of_somebody_else(self, column: Column) -> list[str | None]:
        """What a topic may be made of: the parent, the room."""
        if self._table.key == (column.name,):
            return []
        for who in (Who.BOB, Who.MALLORY, Who.ALICE):
            other = self._stage.seeder.world.rows.get((self._table.name, who), {}).get(column.name)
            mine = self._stage.seeder.world.rows.get((self._table.name, Who.ALICE), {}).get(column.name)
            if other is not None and other != mine:
                return [other]
        return []

    def _heard(
        self,
        whose: Whose,
        command: Command,
        column: str | None,
        statement: Statement,
        before: Sequence[Statement],
    ) -> Iterator[_Heard]:
        connection, row = self._stage.connection, self._stage.access.row(self._table, whose)
        assert row is not None
        columns = sql.SQL(", ").join(
            sql.SQL("{}::text").format(sql.Identifier(c.name)) for c in self._table.columns
        )
        returning = sql.SQL(" returning ") + columns
        try:
            with connection.transaction(force_rollback=True):
                for preparation in before:
                    connection.execute(preparation)
                for filling in self._filled(row):
                    connection.execute(filling)
                there = messages(connection)
                # Triggers may take the topic from the token: it is the owner who makes the change.
                connection.execute(
                    "select pg_catalog.set_config('request.jwt.claims', %s, true)", (self._claims(whose),)
                )
                before_it = self._readers(row)
                made = connection.execute(sql.Composed([statement, returning])).fetchone()
                if made is None:
                    return
                now = dict(zip((c.name for c in self._table.columns), made, strict=True))
                heard = [
                    _Heard(command, whose, row, message, column, now, hearers, self._joined(message, hearers))
                    for message, hearers in self._listened(whose, command, now, before_it, there)
                ]
                if command is Command.UPDATE and self._vanished(now, before_it):
                    heard += self._once_more(whose, row, now)
        except psycopg.Error as error:
            self._warnings.append(f"{error.diag.message_primary} ({sqlstate_of(error)})")
            return
        self._done += 1
        yield from heard

    def _listened(
        self, whose: Whose, command: Command, now: Row, before: Mapping[str, Answer], there: Sequence[Message]
    ) -> Iterator[tuple[Message, tuple[Hearer, ...]]]:
        """Who has seen the row before learns nothing; of a new one only what is there now counts."""
        after = before if command is Command.DELETE else self._readers(now)
        reads = (
            after
            if command is Command.INSERT
            else {
                role: Answer.ALLOW if Answer.ALLOW in (before[role], after[role]) else after[role]
                for role in _ROLES
            }
        )
        for message in messages(self._stage.connection, there):
            yield message, self._hearers(whose, message, reads)

    def _vanished(self, now: Row, before: Mapping[str, Answer]) -> bool:
        after = self._readers(now)
        return any(before[role] is Answer.ALLOW and after[role] is Answer.DENY for role in _ROLES)

    def _once_more(self, whose: Whose, row: Row, now: Row) -> list[_Heard]:
        """The next change of a row that is out of sight by now."""
        connection, table = self._stage.connection, self._table
        for column, value in self._values(now):
            if is_free(table, column, self._stage.belonging) and column.base in ("text", "character varying"):
                there = messages(connection)
                statement = sql.SQL("update {} set {} = {} where {}").format(
                    relation(table), sql.Identifier(column.name), value, self._stage.access.where(table, now)
                )
                unseen = self._readers(now)
                connection.execute(statement)
                return [
                    _Heard(
                        Command.UPDATE,
                        whose,
                        row,
                        message,
                        None,
                        now,
                        hearers,
                        self._joined(message, hearers),
                    )
                    for message, hearers in self._listened(whose, Command.UPDATE, now, unseen, there)
                ]
        return []

    def _readers(self, row: Row) -> dict[str, Answer]:
        """Which roles, as Alice, see this row as it is now."""
        look = sql.SQL("select from {} where {}").format(
            relation(self._table), self._stage.access.where(self._table, row)
        )
        actors = self._stage.access.actors
        return {role: attempt(self._stage.connection, actors[role], look).answer for role in _ROLES}

    def _joined(self, message: Message, hearers: Sequence[Hearer]) -> bool:
        if not message.private or any(h.joins is Answer.ALLOW for h in hearers):
            return True
        mine = any(h.whose in (Whose.OWN, Whose.OWNERLESS) for h in hearers)
        return mine and self._channels.anybody_joins(self._stage.people(), message.topic)

    def _hearers(self, whose: Whose, message: Message, reads: Mapping[str, Answer]) -> tuple[Hearer, ...]:
        return tuple(
            Hearer(
                role,
                whose,
                self._channels.joins(role, message.topic).answer if message.private else Answer.ALLOW,
                reads[role],
            )
            for role in _ROLES
        )

    def _filled(self, row: Row) -> Iterator[Statement]:
        """Something in the columns that are empty, to be recognised: not where it could change the row's state."""
        table = self._table
        if self._fill is None:
            self._fill = [
                c for c in table.columns if row.get(c.name) is None and self._takes_anything(c, row)
            ]
        for number, column in enumerate(self._fill):
            yield sql.SQL("update {} set {} = {} where {}").format(
                relation(table),
                sql.Identifier(column.name),
                literal(table, column.name, f"probe-fill-{number}"),
                self._stage.access.where(table, row),
            )

    def _takes_anything(self, column: Column, row: Row) -> bool:
        policies = " ".join(policy.text for policy in self._table.policies)
        if (
            column.base != "text"
            or column.generated
            or not is_free(self._table, column, self._stage.belonging)
        ):
            return False
        if mentioned(column.name, policies):
            return False
        statement = sql.SQL("update {} set {} = 'probe-fill' where {}").format(
            relation(self._table), sql.Identifier(column.name), self._stage.access.where(self._table, row)
        )
        return attempt(self._stage.connection, None, statement).answer is Answer.ALLOW

    def _claims(self, whose: Whose) -> str:
        who = self._stage.access.who(self._table, whose)
        if who not in self._tokens:
            self._tokens[who] = self._stage.person(who).text
        return self._tokens[who]

    # -- what was heard ----------------------------------------------------------------------------------------

    def _functions(self, command: Command | None = None) -> tuple[str, ...]:
        those = [s for s in self._senders if command is None or command in s.events]
        return tuple(dict.fromkeys(s.function for s in those))

    def _sent(self, heard: Sequence[_Heard]) -> Iterator[Sent]:
        kinds: dict[tuple[Command, str, bool], list[_Heard]] = defaultdict(list)
        for each in heard:
            kinds[each.command, self._pattern(each), each.message.private].append(each)
        for (command, topic, private), those in kinds.items():
            carried = sorted({name for each in those for name in self._carried(each)})
            yield Sent(
                self._table.name,
                self._functions(command),
                command,
                topic,
                private,
                tuple(carried),
                tuple(dict.fromkeys(hearer for each in those for hearer in each.hearers)),
                any(each.joined for each in those),
                tuple((role, self._unreadable(role, carried)) for role in _ROLES),
            )

    def _pattern(self, heard: _Heard) -> str:
        """The topic with names in place of values, which are in no report."""
        topic, named = heard.message.topic, heard.row if heard.command is Command.DELETE else heard.now
        rows = [(self._table.name, named), (self._table.name, heard.row)]
        rows += [(name, row) for (name, _), row in self._stage.seeder.world.rows.items()]
        for table, row in rows:
            for column, value in sorted(row.items(), key=lambda item: -len(item[1] or "")):
                if value is not None and (len(value) > 3 or value.isdigit()):
                    topic = _PLACE.sub(partial(_in_place, value, f"{{{table}.{column}}}"), topic)
        return _VALUE.sub("{…}", topic)

    def _carried(self, heard: _Heard) -> Iterator[str]:
        """Columns whose value can be recognised in the payload; a flag or a small number cannot."""
        values = set(_texts(heard.message.payload))
        skipped = {*self._table.key, *(name for key in self._table.foreign_keys for name in key.columns)}
        for name, value in heard.now.items():
            if name not in skipped and value is not None and len(value) > 3 and value in values:
                yield name
        # Under the column's own name any value is its.
        named = _fields(heard.message.payload)
        for name, value in heard.now.items():
            if name not in skipped and value is not None and named.get(name) == value:
                yield name

    def _unreadable(self, role: str, carried: Sequence[str]) -> tuple[str, ...]:
        asked = "select c from unnest(%s::text[]) c where not has_column_privilege(%s, %s, c, 'select')"
        found = self._stage.connection.execute(asked, (list(carried), role, self._table.name)).fetchall()
        return tuple(name for (name,) in found)

    def _silent(self, heard: Sequence[_Heard]) -> Iterator[Silent]:
        direct = [sender for sender in self._senders if sender.sends]
        if heard or not direct or not self._done:
            return
        text = "\n".join(sender.text for sender in direct)
        warning = next((said for said in self._warnings if not _is_of_a_constraint(said)), "")
        swallows = re.search(r"\bexception\s+when\b", text, re.IGNORECASE) is not None
        yield Silent(self._table.name, tuple(dict.fromkeys(s.function for s in direct)), warning, swallows)

    def _left(self, heard: Sequence[_Heard]) -> Iterator[Left]:
        """A column changed whose old value the topic has, and no message has the new one."""
        changes: dict[tuple[Whose, str], list[_Heard]] = defaultdict(list)
        for each in heard:
            if each.command is Command.UPDATE and each.changed is not None:
                changes[each.whose, each.changed].append(each)
        told = set[str]()
        for (_, column), those in changes.items():
            old, new = those[0].row.get(column), those[0].now.get(column)
            if not old or not new or old == new or column in told:
                continue
            topics = [each.message.topic for each in those]
            same = [name for name, value in those[0].now.items() if value == old and name != column]
            if not all(_tells_apart(heard, column, other) for other in same):
                continue  # the topic may be named after another column, which happens to hold the same
            if any(_holds(topic, old) for topic in topics) and not any(
                _holds(topic, new) for topic in topics
            ):
                told.add(column)
                pattern = next(topic for topic in topics if _holds(topic, old)).replace(old, f"{{{column}}}")
                yield Left(self._table.name, self._functions(Command.UPDATE), pattern, column)


_PLACE = re.compile(r"\{[^}]*\}|[\w-]+")
_VALUE = re.compile(r"(?<![\w{.])(?:[0-9a-f]{8}-[0-9a-f-]{27}|\d+)(?![\w}])")


def _in_place(value: str, name: str, part: re.Match[str]) -> str:
    return name if part[0] == value else part[0]


def _tells_apart(heard: Sequence[_Heard], column: str, other: str) -> bool:
    """Whether some topic has this column's value and not the other's."""
    for each in heard:
        rows = (each.now,) if each.command is Command.INSERT else (each.now, each.row)
        ours, theirs = ({row.get(name) or "" for row in rows} - {""} for name in (column, other))
        if any(_holds(each.message.topic, value) for value in ours - theirs):
            return True
    return False


def _holds(topic: str, value: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(value)}(?![\w-])", topic) is not None


def _is_of_a_constraint(said: str) -> bool:
    return re.search(r"\((23\w{3}|55000|42P10)\)$", said) is not None


def _texts(payload: Any) -> Iterator[str]:
    """Every single value in it, as the database writes it."""
    if isinstance(payload, dict):
        for value in payload.values():
            yield from _texts(value)
    elif isinstance(payload, list):
        for value in payload:
            yield from _texts(value)
    elif payload is not None:
        yield payload if isinstance(payload, str) else json.dumps(payload)


def _fields(payload: Any) -> Mapping[str, str]:
    """Every named value in it, the outermost of a name."""
    found: dict[str, str] = {}
    if isinstance(payload, dict):
        for value in payload.values():
            found.update(_fields(value))
        for name, value in payload.items():
            if not isinstance(value, dict | list) and value is not None:
                found[name] = value if isinstance(value, str) else json.dumps(value)
    return found

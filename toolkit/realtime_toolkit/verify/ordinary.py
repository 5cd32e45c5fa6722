"""Alice as an ordinary person: no administrator by accident of what seeding put into her row.

Whoever is seeded gets a row in every table, in ``admins`` too, and in ``profiles.role`` perhaps the first label of an enum,
``admin``. What opens to such a person opens by design. So her rows are changed until fewer of the strangers' rows are in
her reach: a role column gets another value, a row in a list of the mighty goes. Only in tables that hold one row a user and
belong to no tenant: a role inside of one tenant must not open another.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg

from realtime_toolkit.verify.access import Command, Whose
from realtime_toolkit.verify.names import mentioned, parts
from realtime_toolkit.verify.probing import Answer, attempt, sqlstate_of
from realtime_toolkit.verify.seeding import Who
from realtime_toolkit.verify.variation import Change, changes_of, is_free, policy_texts, update

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from realtime_toolkit.verify.access import Access
    from realtime_toolkit.verify.ownership import Belonging
    from realtime_toolkit.verify.probing import Statement
    from realtime_toolkit.verify.seeding import World
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Model, Table

ROLE_COLUMN = re.compile(
    r"role|kind|type|departm|dept|level|plan|tier|rank|position|group|scope|permission|access|admin|staff|moderator|super|"
    r"support|agent|premium|privileg|power",
    re.IGNORECASE,
)
MIGHTY = re.compile(
    r"admin|super|staff|moderat|operator|agent|support|role|permission|privileg|root|owner|manager|(^|_)hr(_|$)|internal|"
    r"service|editor|auditor|curator|system|maintain|dispatch|official",
    re.IGNORECASE,
)
"""Tables, and values of roles, whose people may do more than others by design."""

Reach = frozenset[tuple[str, Whose, Command]]
_COMMANDS = (Command.SELECT, Command.UPDATE, Command.DELETE)


class Ordinary:
    def __init__(
        self, connection: Connection, model: Model, belonging: Belonging, world: World, access: Access
    ) -> None:
        self._connection = connection
        self._model = model
        self._belonging = belonging
        self._world = world
        self._access = access
        self._texts = policy_texts(model)

    def make(self) -> frozenset[str]:
        """Take from Alice what she need not have; returns tables that only then stay closed to her."""
        closed: set[str] = set()
        for table in list(self._lists()):
            asking = [t for t in self._model.reachable if t.rls and asks(t, table)]
            before = self._unbanned(table, asking, self.reach(asking))
            if any(whose is not Whose.OWN for _, whose, _ in before):
                closed |= self._lessen(table, asking, before)
        return frozenset(closed)

    def _lists(self) -> Iterator[Table]:
        """Tables with one row a user, of whom policies of other tables ask."""
        for table in self._model.tables.values():
            mine = (table.name, Who.ALICE) in self._world.rows
            if mine and is_list(table, self._belonging):
                yield table

    def _unbanned(self, table: Table, asking: list[Table], before: Reach) -> Reach:
        """What she reaches when she is no more on a list that keeps her from her own: of the banned, say."""
        away = self._access.removal(table, self._world.rows[table.name, Who.ALICE])
        after = self.reach(asking, (away,))
        if not any(whose is Whose.OWN and name != table.name for name, whose, _ in after - before):
            return before
        self._apply(table, away, None)
        return after

    def _lessen(self, table: Table, asking: list[Table], before: Reach) -> set[str]:
        if (table.name, Who.ALICE) not in self._world.rows:
            return set()
        for statement, change in self._steps(table):
            after = self.reach(asking, (statement,))
            if {r for r in after if r[1] is not Whose.OWN} < {r for r in before if r[1] is not Whose.OWN}:
                self._apply(table, statement, change)
                return {table.name} | {
                    name for name, whose, c in before - after if whose is Whose.OWN and c is Command.SELECT
                }
        return set()

    def _steps(self, table: Table) -> Iterator[tuple[Statement, Change | None]]:
        for change in role_changes(table, self._belonging, self._texts, self._world):
            yield update(self._access, table, change, self._world, Who.ALICE), change
        if MIGHTY.search(parts(table.name)[-1]):
            yield self._access.removal(table, self._world.rows[table.name, Who.ALICE]), None

    def _apply(self, table: Table, statement: Statement, change: Change | None) -> None:
        try:
            with self._connection.transaction():
                self._connection.execute(statement)
        except psycopg.Error as error:
            sqlstate_of(error)
            return
        self._world.script.append(statement.as_string(self._connection))
        if change is None:
            del self._world.rows[table.name, Who.ALICE]
        else:
            self._world.rows[table.name, Who.ALICE][change.column] = change.value

    def reach(self, tables: Iterable[Table], before: tuple[Statement, ...] = ()) -> Reach:
        """What Alice can do with whose rows of these tables, after these statements."""
        found = set()
        for table in tables:
            for whose in (Whose.OWN, Whose.SAME_TENANT, Whose.OTHER_TENANT):
                for command in _COMMANDS if self._access.row(table, whose) is not None else ():
                    if self._reaches(table, whose, command, before):
                        found.add((table.name, whose, command))
        return frozenset(found)

    def _reaches(self, table: Table, whose: Whose, command: Command, before: tuple[Statement, ...]) -> bool:
        probe = self._access.probe(table, whose, command, "authenticated")
        if probe is None or command.value not in table.reach.get("authenticated", ()):
            return False
        eyes = () if command is Command.SELECT else self._access.eyes(table)
        person = self._access.actors["authenticated"]
        result = attempt(self._connection, person, probe.statement, before=(*before, *eyes))
        return result.answer is Answer.ALLOW


def is_list(table: Table, belonging: Belonging) -> bool:
    """One row a user, or several that differ by role; no tenant's."""
    users = belonging.users.get(table.name, frozenset())
    personal = bool(users) and (set(table.key) <= users or table.name not in belonging.shared)
    return personal and table.kind == "r"


def asks(table: Table, other: Table) -> bool:
    """Whether policies of the one speak of the other, themselves or in a function they call."""
    name = parts(other.name)[-1]
    return any(
        mentioned(name, text)
        for policy in table.policies
        for text in (policy.text, *policy.functions.values())
    )


def role_changes(table: Table, belonging: Belonging, texts: str, world: World) -> Iterator[Change]:
    """Other values of Alice's role, or whatever the column is called that policies ask for."""
    row = world.rows[table.name, Who.ALICE]
    for column in table.columns:
        if is_free(table, column, belonging) and ROLE_COLUMN.search(column.name):
            yield from changes_of(table, column, row, texts)

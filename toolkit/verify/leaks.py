"""The leak hunt: rows and memberships nobody thought of, until a row of one tenant shows in another.

Starting from the seeded rows, Hypothesis gives Mallory's rows other values in the columns that policies look
at (flags, states, nulls, the constants they compare with) and makes Bob a member of Mallory's tenant. Alice,
who has nothing to do with it, must still not read or write any of Mallory's rows. What is found is shrunk to
the fewest changes and rows and comes as SQL that can be run.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from toolkit.verify.access import Command, Whose
from toolkit.verify.dynamic import staged
from toolkit.verify.model import CheckResult, Finding, Level, Outcome, Rule
from toolkit.verify.probing import Answer, attempt
from toolkit.verify.seeding import Who, literal, relation, spelled_out
from toolkit.verify.values import literals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from toolkit.verify.config import Config
    from toolkit.verify.dynamic import Stage
    from toolkit.verify.static import Connection
    from toolkit.verify.tables import Column, Table

LEK001 = Rule("LEK001", "leaks", "A row of one tenant can be read, written or received by another")
EXAMPLES = 150
_ROLES = ("authenticated", "anon")


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """Another value for a column of Mallory's row; ``join``: Bob gets a row like it as well."""

    table: str
    column: str
    value: str | None
    join: bool = False


@dataclass(frozen=True, slots=True)
class Leak:
    table: str
    role: str
    command: Command
    changes: tuple[Change, ...]
    script: str


def hunt(
    connection: Connection, config: Config, *, schemas: Sequence[str] = (), examples: int = EXAMPLES
) -> CheckResult:
    """One finding for the first leak, shrunk. SKIPPED where Hypothesis is not installed."""
    try:
        import hypothesis
    except ImportError:
        return CheckResult(LEK001, Outcome.SKIPPED, reason="needs hypothesis: pip install hypothesis")
    with staged(connection, config, schemas=schemas) as stage:
        hunter = _Hunter(stage)
        found = _search(hypothesis, hunter, examples)
        statements = hunter.statements(found[1]) if found else []
    if found is None:
        return CheckResult(LEK001, Outcome.PASS)
    shown, changes = found
    script = _shrunk(connection, statements)
    leak = Leak(shown.table, shown.role, shown.command, changes, script)
    return CheckResult(LEK001, Outcome.FAIL, (_finding(leak),))


@dataclass(frozen=True, slots=True)
class _Shown:
    table: str
    role: str
    command: Command


def _search(hypothesis: object, hunter: _Hunter, examples: int) -> tuple[_Shown, tuple[Change, ...]] | None:
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    pool = hunter.pool()
    found: list[tuple[_Shown, tuple[Change, ...]]] = []
    changes = (
        st.lists(st.sampled_from(pool), max_size=5, unique_by=lambda c: (c.table, c.column))
        if pool
        else st.just([])
    )

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(changes)
    def nobody_else_sees_it(changes: list[Change]) -> None:
        shown = hunter.shown(changes)
        if shown is not None:
            found.append((shown, tuple(changes)))
            raise AssertionError

    try:
        nobody_else_sees_it()
    except AssertionError:
        return found[-1]  # Hypothesis runs the smallest example last
    return None


class _Hunter:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._texts = " ".join(
            text
            for table in stage.model.tables.values()
            for policy in table.policies
            for text in (policy.text, *policy.functions.values())
        )
        self._judged = [t for t in stage.model.published if t.rls and self._is_judged(t)]

    def _is_judged(self, table: Table) -> bool:
        """Tables whose policies ask who is there, and in which Mallory has a row."""
        return table.personal_read and (table.name, Who.MALLORY) in self._stage.seeder.world.rows

    def pool(self) -> list[Change]:
        return sorted(self._changes(), key=lambda c: (c.table, c.column, c.value or "", c.join))

    def _changes(self) -> Iterator[Change]:
        for (name, who), row in self._stage.seeder.world.rows.items():
            table = self._stage.model.tables[name]
            if who is not Who.MALLORY or name not in self._stage.belonging.owned:
                continue
            for column in table.columns:
                if self._is_free(table, column):
                    for value in self._values(table, column):
                        if value != row[column.name]:
                            yield Change(name, column.name, value)
            if self._stage.belonging.users.get(name) and table.foreign_keys:
                yield Change(name, "", None, join=True)

    def _is_free(self, table: Table, column: Column) -> bool:
        owning = self._stage.belonging.users.get(table.name, frozenset())
        owning |= self._stage.belonging.tenants.get(table.name, frozenset())
        held = {name for key in table.foreign_keys for name in key.columns} | {*table.key, *owning}
        asked = re.search(rf"\b{re.escape(column.name)}\b", self._texts) is not None
        return asked and column.name not in held and not column.generated

    def _values(self, table: Table, column: Column) -> list[str | None]:
        values: list[str | None] = [] if column.not_null else [None]
        if column.base == "boolean":
            values += ["true", "false"]
        elif column.kind == "e":
            values += column.labels
        else:
            texts = [check.definition for check in table.checks if column.name in check.columns]
            texts += [p.text for p in table.policies if column.name in p.text]
            mentioned = [value for text in texts for value in literals(text)]
            number = column.base in ("smallint", "integer", "bigint", "numeric")
            values += [v for v in mentioned if v.lstrip("-").replace(".", "").isdigit() == number][:12]
            if column.base.startswith("timestamp") or column.base == "date":
                values += ["2000-01-01", "2100-01-01"]
        return list(dict.fromkeys(values))

    # -- trying ------------------------------------------------------------------------------------------

    def shown(self, changes: Sequence[Change]) -> _Shown | None:
        """What shows after these changes; ``None`` also where a constraint refuses them."""
        connection = self._stage.connection
        try:
            with connection.transaction(force_rollback=True):
                for statement in self._applied(changes):
                    connection.execute(statement)
                return self._look()
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise
            return None

    def _look(self) -> _Shown | None:
        for table in self._judged:
            for role in _ROLES:
                for command in (Command.SELECT, Command.UPDATE, Command.DELETE):
                    if command is Command.SELECT and role in table.public_read:
                        continue
                    if self._allowed(table, role, command):
                        return _Shown(table.name, role, command)
        return None

    def _allowed(self, table: Table, role: str, command: Command) -> bool:
        probe = self._stage.access.probe(table, Whose.OTHER_TENANT, command, role)
        person = self._stage.access.actors[role]
        return (
            probe is not None
            and attempt(self._stage.connection, person, probe.statement).answer is Answer.ALLOW
        )

    def _applied(self, changes: Sequence[Change]) -> Iterator[sql.Composed]:
        for change in changes:
            table = self._stage.model.tables[change.table]
            row = self._stage.seeder.world.rows[change.table, Who.MALLORY]
            if change.join:
                yield spelled_out(table, self._as_bob(table))
            else:
                yield sql.SQL("update {} set {} = {} where {}").format(
                    relation(table),
                    sql.Identifier(change.column),
                    literal(table, change.column, change.value),
                    self._stage.access.where(table, row),
                )

    def _as_bob(self, table: Table) -> dict[str, str | None]:
        """Mallory's row with Bob in her place: so he is in both tenants."""
        row = dict(self._stage.seeder.world.rows[table.name, Who.MALLORY])
        for name in self._stage.belonging.users.get(table.name, ()):
            row[name] = Who.BOB.user_id
        for name in table.key:
            if row[name] == self._stage.seeder.world.rows[table.name, Who.MALLORY][name]:
                column = table.column(name)
                if column.default is not None or column.identity:
                    row[name] = self._stage.seeder.fresh(column)
        return row

    def statements(self, changes: Sequence[Change]) -> list[str]:
        """Seeding, changes, becoming Alice, and the statement that reaches Mallory's row."""
        shown = self.shown(changes)
        assert shown is not None
        connection, table = self._stage.connection, self._stage.model.tables[shown.table]
        person = self._stage.access.actors[shown.role]
        with connection.transaction(force_rollback=True):
            probe = self._stage.access.probe(table, Whose.OTHER_TENANT, shown.command, shown.role)
        assert probe is not None
        become = sql.SQL(
            "select set_config('role', {}, true), set_config('request.jwt.claims', {}, true)"
        ).format(sql.Literal(shown.role), sql.Literal(person.text))
        reach = probe.statement.as_string(connection)
        if shown.command is Command.SELECT:
            reach = reach.replace("select from", "select * from", 1)
        made = [statement.as_string(connection) for statement in self._applied(changes)]
        return [*self._stage.seeder.world.script, *made, become.as_string(connection), reach]


def _shrunk(connection: Connection, statements: list[str]) -> str:
    """The script without the rows that it leaks without as well."""
    *rows, become, reach = statements
    for candidate in list(reversed(rows)):
        fewer = [row for row in rows if row is not candidate]
        if _leaks(connection, [*fewer, become, reach]):
            rows = fewer
    return ";\n".join(["begin", *rows, become, reach, "rollback"]) + ";"


def _leaks(connection: Connection, statements: list[str]) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            for statement in statements[:-1]:
                connection.execute(statement.encode())
            return connection.execute(statements[-1].encode()).rowcount > 0
    except psycopg.Error as error:
        if error.sqlstate is None:
            raise
        return False


def _finding(leak: Leak) -> Finding:
    when = ", ".join(
        f"{c.table} has a member of both tenants"
        if c.join
        else f"{c.table}.{c.column} is {c.value or 'null'}"
        for c in leak.changes
    )
    return Finding(
        "LEK001",
        Level.ERROR,
        leak.table,
        f"{leak.role} of another tenant can {leak.command.value} a row of {leak.table}{f' where {when}' if when else ''}. "
        f"To see it run:\n{leak.script}",
        f"-- see the policies of {leak.table} for {leak.command.value}",
        f"LEK001 {leak.table} {leak.role} {leak.command.value}",
    )

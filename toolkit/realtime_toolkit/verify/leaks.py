"""The leak hunt: rows and memberships nobody thought of, until a row of one tenant shows in another.

Starting from the seeded rows, Hypothesis gives Mallory's rows other values in the columns that policies look
at (flags, states, nulls, the constants they compare with) and makes Bob a member of Mallory's tenant. Alice,
who has nothing to do with it, must still not read or write any of Mallory's rows. What is found is shrunk to
the fewest changes and rows and comes as SQL that can be run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import psycopg
from psycopg import sql

from realtime_toolkit.migrate.sqlsplit import printable
from realtime_toolkit.verify.access import Command, Whose
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Outcome, Rule
from realtime_toolkit.verify.probing import Answer, attempt
from realtime_toolkit.verify.seeding import Who, spelled_out
from realtime_toolkit.verify.stage import staged
from realtime_toolkit.verify.variation import Change, single_changes, update

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime_toolkit.verify.config import Config
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.stage import Stage
    from realtime_toolkit.verify.tables import Table

LEK001 = Rule("LEK001", "leaks", "A row of one tenant can be read, written or received by another")
EXAMPLES = 150
_ROLES = ("authenticated", "anon")


@dataclass(frozen=True, slots=True, order=True)
class Join:
    """Bob gets a row like Mallory's in this table: he is in both tenants then."""

    table: str


Step: TypeAlias = "Change | Join"


@dataclass(frozen=True, slots=True)
class Leak:
    table: str
    role: str
    command: Command
    steps: tuple[Step, ...]
    script: str


def hunt(
    connection: Connection,
    config: Config,
    *,
    schemas: Sequence[str] = (),
    examples: int = EXAMPLES,
    alone: bool = False,
) -> CheckResult:
    """One finding for the first leak, shrunk. SKIPPED where Hypothesis is not installed."""
    try:
        import hypothesis
    except ImportError:
        return CheckResult(LEK001, Outcome.SKIPPED, reason="needs hypothesis: pip install hypothesis")
    with staged(connection, config, schemas=schemas, alone=alone) as stage:
        hunter = _Hunter(stage)
        found = _search(hypothesis, hunter, examples)
        statements = hunter.statements(found[1]) if found else []
    if found is None:
        return CheckResult(LEK001, Outcome.PASS)
    shown, steps = found
    script = _shrunk(connection, statements)
    leak = Leak(shown.table, shown.role, shown.command, steps, script)
    return CheckResult(LEK001, Outcome.FAIL, (_finding(leak),))


@dataclass(frozen=True, slots=True)
class _Shown:
    table: str
    role: str
    command: Command


def _search(hypothesis: object, hunter: _Hunter, examples: int) -> tuple[_Shown, tuple[Step, ...]] | None:
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    pool = hunter.pool()
    found: list[tuple[_Shown, tuple[Step, ...]]] = []
    drawn = st.lists(st.sampled_from(pool), max_size=5, unique_by=_place) if pool else st.just([])

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(drawn)
    def nobody_else_sees_it(steps: list[Step]) -> None:
        shown = hunter.shown(steps)
        if shown is not None:
            found.append((shown, tuple(steps)))
            raise AssertionError

    try:
        nobody_else_sees_it()
    except AssertionError:
        return found[-1]  # Hypothesis runs the smallest example last
    return None


def _place(step: Step) -> tuple[str, str]:
    return step.table, step.column if isinstance(step, Change) else ""


class _Hunter:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._judged = [t for t in stage.model.published if t.rls and self._is_judged(t)]

    def _is_judged(self, table: Table) -> bool:
        """Tables whose policies ask who is there, and in which Mallory has a row."""
        return table.personal_read and (table.name, Who.MALLORY) in self._stage.seeder.world.rows

    def pool(self) -> list[Step]:
        stage = self._stage
        made = single_changes(stage.model, stage.belonging, stage.seeder.world)
        found: list[Step] = [*sorted(made, key=lambda c: (c.table, c.column, c.value or ""))]
        for name, who in stage.seeder.world.rows:
            linked = stage.belonging.users.get(name) and stage.model.tables[name].foreign_keys
            if who is Who.MALLORY and name in stage.belonging.owned and linked:
                found.append(Join(name))
        return found

    # -- trying ------------------------------------------------------------------------------------------

    def shown(self, steps: Sequence[Step]) -> _Shown | None:
        """What shows after these steps; ``None`` also where a constraint refuses them."""
        connection = self._stage.connection
        try:
            with connection.transaction(force_rollback=True):
                for statement in self._applied(steps):
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

    def _applied(self, steps: Sequence[Step]) -> Iterator[sql.Composed]:
        for step in steps:
            table = self._stage.model.tables[step.table]
            if isinstance(step, Join):
                yield spelled_out(table, self._as_bob(table))
            else:
                yield update(self._stage.access, table, step, self._stage.seeder.world)

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

    def statements(self, steps: Sequence[Step]) -> list[str]:
        """Seeding, changes, becoming Alice, and the statement that reaches Mallory's row."""
        shown = self.shown(steps)
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
        made = [statement.as_string(connection) for statement in self._applied(steps)]
        return [*self._stage.seeder.world.script, *made, become.as_string(connection), reach]


def _shrunk(connection: Connection, statements: list[str]) -> str:
    """The script without the rows that it leaks without as well."""
    *rows, become, reach = statements
    for candidate in list(reversed(rows)):
        fewer = [row for row in rows if row is not candidate]
        if _leaks(connection, [*fewer, become, reach]):
            rows = fewer
    return ";\n".join(["begin", *map(printable, (*rows, become, reach)), "rollback"]) + ";"


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
    when = ", ".join(map(_said, leak.steps))
    return Finding.of(
        "LEK001",
        Level.ERROR,
        leak.table,
        f"{leak.role} of another tenant can {leak.command.value} a row of {leak.table}{f' where {when}' if when else ''}.",
        f"-- see the policies of {leak.table} for {leak.command.value}",
        f"LEK001 {leak.table} {leak.role} {leak.command.value}",
        script=leak.script,
    )


def _said(step: Step) -> str:
    if isinstance(step, Join):
        return f"{step.table} has a member of both tenants"
    return f"{step.table}.{step.column} is {step.value or 'null'}"

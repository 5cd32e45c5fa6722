"""The leak hunt: rows and memberships nobody thought of, until a row of one tenant shows in another.

Starting from the seeded rows, Mallory's get other values in the columns that policies look at (flags, states, nulls, the
constants they compare with), and Bob becomes a member of Mallory's tenant: one such change after the other, then two at once,
then more as Hypothesis draws them. Alice, who has nothing to do with it, must still not read or write any of Mallory's rows.
What is found has the fewest changes and rows and comes as SQL that can be run.

A change by which the schema itself shares a row (``is_public``) is no leak, unless leaks are asked for by name.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations, islice
from typing import TYPE_CHECKING, TypeAlias

import psycopg
from psycopg import sql

from realtime_toolkit.migrate.sqlsplit import printable
from realtime_toolkit.verify.access import Command, Whose
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Outcome, Rule
from realtime_toolkit.verify.names import mentioned, parts
from realtime_toolkit.verify.probing import Answer, attempt, identity, together, undone
from realtime_toolkit.verify.seeding import Who, spelled_out
from realtime_toolkit.verify.sharing import Door, is_design, opts_in
from realtime_toolkit.verify.stage import staged
from realtime_toolkit.verify.variation import Change, single_changes, update

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from realtime_toolkit.verify.config import Config
    from realtime_toolkit.verify.probing import Statement
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.stage import Stage
    from realtime_toolkit.verify.tables import Table

LEK001 = Rule("LEK001", "leaks", "A row of one tenant can be read, written or received by another")
SECONDS = 10.0
_PAIRS = 400
_DRAWN = 60
_CALL = re.compile(r"\b(?!auth\.|pg_catalog\.|extensions\.|realtime\.)\w+\.\w+\s*\(", re.IGNORECASE)
_ROLES = ("authenticated", "anon")
_COMMANDS = (Command.SELECT, Command.UPDATE, Command.DELETE)


@dataclass(frozen=True, slots=True, order=True)
class Join:
    """Bob gets a row like Mallory's in this table: he is in both tenants then."""

    table: str


Step: TypeAlias = "Change | Join"


@dataclass(frozen=True, slots=True)
class Shown:
    """What of Mallory's is reached."""

    table: str
    role: str
    command: Command


@dataclass(frozen=True, slots=True)
class Leak:
    shown: Shown
    steps: tuple[Step, ...]
    script: str


def hunt(
    connection: Connection,
    config: Config,
    *,
    schemas: Sequence[str] = (),
    seconds: float = SECONDS,
    alone: bool = False,
    told: Collection[str] = (),
    designs: bool = False,
) -> CheckResult:
    """One finding for the first leak, within ``seconds``; its reason says how much was tried.

    ``told`` are tables of which it is known already that strangers reach them. ``designs`` also tells what may be meant.
    """
    with staged(connection, config, schemas=schemas, alone=alone) as stage:
        hunter = _Hunter(stage, told, designs)
        search = _Search(hunter, time.monotonic() + seconds)
        found = search.run()
        statements = hunter.statements(*found) if found else []
    if found is None:
        return search.verdict()
    leak = Leak(*found, _shrunk(connection, statements))
    return CheckResult(LEK001, Outcome.FAIL, (_finding(leak),))


class _Hunter:
    """Tries changes of the seeded rows, each undone."""

    def __init__(self, stage: Stage, told: Collection[str], designs: bool) -> None:
        self._stage = stage
        self._designs = designs
        self.undecided = sorted(t.name for t in stage.model.reachable if t.name in stage.seeder.world.failed)
        self._judged = [t for t in stage.model.reachable if t.rls and t.name not in told and self._asks(t)]
        places = [Shown(t.name, r, c) for t in self._judged for r in _ROLES for c in _COMMANDS]
        self._places = [place for place in places if self._is_closed(place)]

    def _asks(self, table: Table) -> bool:
        """Its policies ask who is there, and Mallory has a row in it."""
        return table.personal_read and (table.name, Who.MALLORY) in self._stage.seeder.world.rows

    def _is_closed(self, place: Shown) -> bool:
        """Not reached as the rows are: that is the matrix's. Nor for want of a privilege, whatever the row says."""
        table = self._stage.model.tables[place.table]
        if place.command is Command.SELECT and place.role in table.public_read:
            return False
        speaks = any(p.permissive and p.speaks(place.command.letter, place.role) for p in table.policies)
        privileged = place.command.value in table.reach.get(place.role, frozenset())
        return speaks and privileged and (self._designs or not self._allowed(place))

    def pool(self) -> list[Step]:
        """What can be changed, each alone; of the tables that are judged or that their policies speak of."""
        stage = self._stage
        made = single_changes(stage.model, stage.belonging, stage.seeder.world)
        found: list[Step] = [*sorted(made, key=lambda c: (c.table, c.column, c.value or ""))]
        for name, who in stage.seeder.world.rows:
            linked = name in stage.belonging.joining
            if who is Who.MALLORY and name in stage.belonging.owned and linked:
                found.append(Join(name))
        return [step for step in found if self.about([step])]

    def about(self, steps: Sequence[Step]) -> list[Shown]:
        """What these changes may open: their own tables, and those whose policies speak of them."""
        names = {step.table for step in steps}
        words = {parts(name)[-1] for name in names}
        return [p for p in self._places if p.table in names or self._speaks_of(p.table, words)]

    def _speaks_of(self, table: str, words: Collection[str]) -> bool:
        policies = self._stage.model.tables[table].policies
        texts = [text for policy in policies for text in (policy.text, *policy.functions.values())]
        bodies = [body for policy in policies for body in policy.functions.values()]
        if any(_CALL.search(body) for body in bodies):
            return True  # of another function, whose body is not at hand
        return any(mentioned(word, text) for word in words for text in texts)

    # -- trying ------------------------------------------------------------------------------------------

    def leak(self, steps: Sequence[Step]) -> Shown | None:
        """What leaks after these steps; ``None`` also where a constraint refuses them."""
        for shown in self.all_shown(steps):
            if self._designs or not self._is_meant(shown, steps):
                return shown
        return None

    def all_shown(self, steps: Sequence[Step]) -> list[Shown]:
        connection = self._stage.connection
        with suppress(psycopg.DatabaseError), connection.transaction(force_rollback=True):
            for statement in self._applied(steps):
                connection.execute(statement)
            return list(self._reached(self.about(steps)))
        return []

    def _reached(self, places: Sequence[Shown]) -> Iterator[Shown]:
        """Those of these places that are open now. What cannot be read cannot be found to be written either."""
        hidden = [place for place in places if place.command is Command.SELECT]
        seen = self._seen(hidden)
        unseen = {(place.table, place.role) for place in hidden if place not in seen}
        for place in places:
            if place.command is Command.SELECT:
                if place in seen:
                    yield place
            elif (place.table, place.role) not in unseen and self._allowed(place):
                yield place

    def _seen(self, places: Sequence[Shown]) -> set[Shown]:
        """Which can be read: asked at once, and singly where one raises."""
        found: set[Shown] = set()
        for role in _ROLES:
            those = [place for place in places if place.role == role]
            probes = [self._statement(place) for place in those]
            asked = sql.SQL(", ").join(sql.SQL("exists ({})").format(probe) for probe in probes)
            connection = self._stage.connection
            try:
                with undone(connection):
                    if those:
                        together(connection, [identity(self._stage.access.actors[role])])
                        row = connection.execute(sql.SQL("select {}").format(asked)).fetchone() or ()
                        found |= {place for place, seen in zip(those, row, strict=True) if seen}
            except psycopg.DatabaseError:
                found |= {place for place in those if self._allowed(place)}
        return found

    def _statement(self, place: Shown) -> Statement:
        table = self._stage.model.tables[place.table]
        probe = self._stage.access.probe(table, Whose.OTHER_TENANT, place.command, place.role)
        assert probe is not None, "Mallory has a row in every table that is judged"
        return probe.statement

    def _allowed(self, place: Shown) -> bool:
        table = self._stage.model.tables[place.table]
        probe = self._stage.access.probe(table, Whose.OTHER_TENANT, place.command, place.role)
        person = self._stage.access.actors[place.role]
        return (
            probe is not None
            and attempt(self._stage.connection, person, probe.statement).answer is Answer.ALLOW
        )

    def _is_meant(self, shown: Shown, steps: Sequence[Step]) -> bool:
        """Whether one of the changes is how the schema shares a row."""
        return any(self._is_door(shown, steps, step) for step in steps if isinstance(step, Change))

    def _is_door(self, shown: Shown, steps: Sequence[Step], step: Change) -> bool:
        column = self._stage.model.tables[step.table].column(step.column)
        if opts_in(column, step.value):
            return True
        world = self._stage.seeder.world
        changes = single_changes(self._stage.model, self._stage.belonging, world)
        others = {c.value for c in changes if (c.table, c.column) == (step.table, step.column)}
        others |= {world.rows[step.table, Who.MALLORY][step.column]}
        values = tuple(sorted(others - {step.value}, key=lambda value: value or ""))
        rest = [other for other in steps if other != step]
        closing = [
            value
            for value in values
            if shown not in self.all_shown([*rest, Change(step.table, step.column, value)])
        ]
        door = Door(column, step.value, values, tuple(closing))
        return is_design(door, writes=shown.command is not Command.SELECT)

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

    def statements(self, shown: Shown, steps: Sequence[Step]) -> list[str]:
        """Seeding, changes, becoming Alice, and the statement that reaches Mallory's row."""
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


@dataclass(slots=True)
class _Search:
    """One change after the other, then pairs, then what Hypothesis draws, until the time is up."""

    hunter: _Hunter
    until: float
    tried: int = 0
    singles: int = 0
    """How many there are to be tried at least."""

    def run(self) -> tuple[Shown, tuple[Step, ...]] | None:
        pool = self.hunter.pool()
        self.singles = len(pool)
        for steps in ((), *((step,) for step in pool), *islice(self._pairs(pool), _PAIRS)):
            found = self._try(steps)
            if found is not None:
                return found, steps
        return self._drawn(pool) if len(pool) > 2 else None

    def _pairs(self, pool: Sequence[Step]) -> Iterator[tuple[Step, Step]]:
        """Two changes that something may depend on together."""
        about = {step: frozenset(place.table for place in self.hunter.about([step])) for step in pool}
        for first, second in combinations(pool, 2):
            if _place(first) != _place(second) and about[first] & about[second]:
                yield first, second

    @property
    def _is_over(self) -> bool:
        return time.monotonic() > self.until

    def _try(self, steps: Sequence[Step]) -> Shown | None:
        if self._is_over:
            return None
        self.tried += 1
        return self.hunter.leak(steps)

    def _drawn(self, pool: list[Step]) -> tuple[Shown, tuple[Step, ...]] | None:
        """The same of three changes and more, where Hypothesis is installed; it shrinks what it finds."""
        try:
            from hypothesis import HealthCheck, Phase, given, settings
            from hypothesis import strategies as st
        except ImportError:
            return None
        found: list[tuple[Shown, tuple[Step, ...]]] = []

        @settings(
            max_examples=_DRAWN,
            deadline=None,
            database=None,
            derandomize=True,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(st.lists(st.sampled_from(pool), min_size=3, max_size=5, unique_by=_place))
        def nobody_else_sees_it(steps: list[Step]) -> None:
            shown = self._try(steps)
            if shown is not None:
                found.append((shown, tuple(steps)))
                raise AssertionError

        with suppress(AssertionError, _hypothesis_gave_up()):
            nobody_else_sees_it()
        return found[-1] if found else None  # Hypothesis runs the smallest example last

    def verdict(self) -> CheckResult:
        """PASS only where every change was tried alone at least."""
        tried = f"{self.tried} changes of rows were tried"
        if self.hunter.undecided:
            names = ", ".join(self.hunter.undecided)
            return CheckResult(
                LEK001, Outcome.UNDECIDED, reason=f"no row could be made (see ACC001): {names}"
            )
        if self.tried <= self.singles:
            reason = f"{tried}, fewer than the {self.singles} there are: give --leaks more seconds"
            return CheckResult(LEK001, Outcome.UNDECIDED, reason=reason)
        return CheckResult(LEK001, Outcome.PASS, reason=tried)


def _hypothesis_gave_up() -> type[Exception]:
    """Raised where too few lists without repetition can be drawn."""
    from hypothesis.errors import Unsatisfiable

    return Unsatisfiable


def _place(step: Step) -> tuple[str, str]:
    return step.table, step.column if isinstance(step, Change) else ""


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
        leak.shown.table,
        f"{leak.shown.role} of another tenant can {leak.shown.command.value} a row of {leak.shown.table}{f' where {when}' if when else ''}.",
        f"-- see the policies of {leak.shown.table} for {leak.shown.command.value}",
        f"LEK001 {leak.shown.table} {leak.shown.role} {leak.shown.command.value}",
        script=leak.script,
    )


def _said(step: Step) -> str:
    if isinstance(step, Join):
        return f"{step.table} has a member of both tenants"
    return f"{step.table}.{step.column} is {step.value or 'null'}"

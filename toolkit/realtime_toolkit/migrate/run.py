"""Run one migration file: whole in one transaction, or step by step where its statements ask for that."""

from __future__ import annotations

import random
import re
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import psycopg
from psycopg import errors as pg

from realtime_toolkit.errors import MigrationError, ToolkitError, Unreachable
from realtime_toolkit.migrate import history
from realtime_toolkit.migrate.dumped import advice
from realtime_toolkit.migrate.send import ONLY_OUTSIDE, Failed, send
from realtime_toolkit.migrate.session import require_lock, reset, scalar, silent
from realtime_toolkit.migrate.sqlsplit import same_meaning
from realtime_toolkit.migrate.units import (
    ConcurrentIndex,
    How,
    concurrent_index,
    copied,
    may_go_on,
    session_settings,
    units,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_toolkit.migrate.files import Migration
    from realtime_toolkit.migrate.history import Progress
    from realtime_toolkit.migrate.session import Connection, Notice
    from realtime_toolkit.migrate.sqlsplit import Statement
    from realtime_toolkit.migrate.units import Unit

T = TypeVar("T")

WORTH_REPEATING = (pg.LockNotAvailable, pg.DeadlockDetected, pg.SerializationFailure)
SETTLED = frozenset(
    {"42P04", "42P06", "42P07", "42701", "42710", "3D000", "3F000", "42P01", "42704", "42703"}
)
"""Already there, or already gone: what repeating a statement that had taken effect after all answers."""


ELSEWHERE = (
    "this Postgres does not have it; for a local stack on one that does: stack up --postgres container|URL"
)
_NO_EXTENSION = re.compile(
    r'extension ".*" (is not available|has no installation script)|could not (load library|access file) '
)
_PASSWORD = re.compile(r"(\bpassword\s*=?\s*)[eE]?'(?:[^']|'')*(?:'|$)", re.IGNORECASE)


class Refused(Exception):
    """A statement failed: the database's error and the toolkit's line for it."""

    def __init__(self, cause: psycopg.Error, error: ToolkitError) -> None:
        super().__init__(str(error))
        self.cause, self.error = cause, error


class Runner:
    """Applies files in a session that holds the migration lock.

    ``lock_timeout`` (s) bounds each wait for a table lock; after it the file (or the step) is rolled back and
    tried again, up to ``attempts`` times, with full jitter: a waiting ALTER TABLE blocks every later query.
    """

    def __init__(
        self, connection: Connection, *, lock_timeout: float = 4.0, attempts: int = 8, notice: Notice = silent
    ) -> None:
        self._connection = connection
        self._lock_timeout = str(round(lock_timeout * 1000))
        self._attempts = attempts
        self._notice = notice

    def apply(self, migration: Migration, begun: Progress | None = None) -> bool:
        """Apply one file; false if another tool has done so meanwhile. Raises the error tree only."""
        self._notice(f"applying {migration.file}")
        reset(self._connection)
        self._limit_waiting()
        with suppress(psycopg.Error):  # some servers' systems cannot look: then the statement just goes on
            self._connection.execute("set client_connection_check_interval = '5s'")
        try:
            return self._in_steps(migration, begun)
        except Refused as refused:
            if not self._others_did(migration):
                raise refused.error from None
            self._notice(f"{migration.file} was applied by another tool meanwhile")
            return False

    def say_settings_again(self, migration: Migration) -> None:
        """What a file set for its session: the CLI runs seeds in the session of the last migration."""
        for statement in session_settings(migration.statements):
            self._connection.execute(statement.sql.encode())

    def _others_did(self, migration: Migration) -> bool:
        if self._connection.closed:
            return False
        reset(self._connection)
        return history.read(self._connection).row(migration.version) is not None

    def _retrying(self, work: Callable[[Migration, Unit], T], migration: Migration, unit: Unit) -> T:
        for attempt in range(1, self._attempts):
            try:
                return work(migration, unit)
            except Refused as refused:
                if not isinstance(refused.cause, WORTH_REPEATING):
                    raise
                pause = random.uniform(0, min(5.0, 0.2 * 2**attempt))
                self._notice(f"{refused.error}; attempt {attempt + 1} of {self._attempts} in {pause:.1f} s")
                time.sleep(pause)
        return work(migration, unit)

    # -- in steps, of which most files have one

    def _in_steps(self, migration: Migration, begun: Progress | None) -> bool:
        todo = deque(self._steps(migration, begun))
        while todo:
            step = todo.popleft()
            if step.how is How.OUTSIDE:
                self._retrying(self._outside, migration, step)
                continue
            work = self._together if todo or step.how is How.UNDONE else self._last
            ran = self._retrying(work, migration, step)
            if ran is None:
                return False
            todo.extendleft(reversed(step.rest(ran)))
            if work == self._last and not todo:
                return True
        with self._connection.transaction():
            self._record(migration)
        return True

    def _steps(self, migration: Migration, begun: Progress | None) -> list[Unit]:
        steps = list(units(migration))
        if begun is not None:
            _require_same_start(migration, begun)
            self._notice(
                f"{migration.file}: going on after {begun.done} of {len(migration.statements)} statements"
            )
            for statement in session_settings(migration.statements[: begun.done]):
                self._connection.execute(statement.sql.encode())
            steps = [step.after(begun.done) for step in steps if step.end > begun.done]
        elif len(steps) > 1 and migration.transactional:
            self._notice(
                f"{migration.file}: not one transaction but {len(steps)} steps, as its statements ask for"
            )
        if begun is not None or len(steps) > 1 or steps[0].how is not How.TOGETHER:
            self._begin(migration)
        return steps

    def _begin(self, migration: Migration) -> None:
        history.create_progress(self._connection)
        history.begin_progress(self._connection, migration)

    def _last(self, migration: Migration, unit: Unit) -> int | None:
        return self._together(migration, unit, last=True)

    def _together(self, migration: Migration, unit: Unit, *, last: bool = False) -> int | None:
        """Run a unit in one transaction: how many of its statements have run, ``None`` if another tool ran the file.

        Fewer than all where the next one cannot be in a transaction; what has run is noted in the same one.
        """
        try:
            with self._connection.transaction(force_rollback=unit.how is How.UNDONE):
                require_lock(self._connection)
                if unit.first == 0 and self._is_recorded(migration):
                    return None
                ran = send(self._connection, unit.statements, self._notice, strict=unit.explicit)
                if ran < len(unit.statements):
                    self._note_stop(migration, unit.first + ran)
                elif last:
                    self._record(migration)
                elif unit.how is How.TOGETHER:
                    self._note(migration, unit.end)
        except Failed as failed:
            at = unit.statements[failed.number]
            raise Refused(failed.error, failure(migration, at, failed.error, _outcome(unit))) from None
        except psycopg.Error as error:
            raise Refused(error, failure(migration, None, error, _outcome(unit))) from None
        if unit.how is How.UNDONE:
            self._note_alone(migration, unit.end)
        return ran

    def _is_recorded(self, migration: Migration) -> bool:
        """Whether the Supabase CLI, which knows no lock, was first; if it still is at work, its row will be
        in the way of ours, and one of the two transactions fails as a whole.
        """
        query = "select exists (select from supabase_migrations.schema_migrations where version = %s)"
        return bool(scalar(self._connection, query, (migration.version,)))

    def _record(self, migration: Migration) -> None:
        reset(self._connection)
        history.forget_progress(self._connection, migration.version)
        history.record(self._connection, migration)

    def _note_stop(self, migration: Migration, done: int) -> None:
        self._as_ourselves()
        self._begin(migration)
        history.note_progress(self._connection, migration.version, done)

    def _outside(self, migration: Migration, unit: Unit) -> None:
        """Run one statement outside a transaction, so that a run that ends at any point can be resumed."""
        (statement,) = unit.statements
        index = concurrent_index(statement)
        before = self._attempt(migration)
        if before and index:
            self._drop_if_invalid(index)
        with self._connection.transaction():
            require_lock(self._connection)
            self._note(migration, unit.first, "running")
        try:
            self._execute_unhurried(statement)
        except psycopg.Error as error:
            refused = Refused(error, failure(migration, statement, error, _outcome(unit)))
            if self._connection.closed:
                raise refused from None
            if not (before == "running" and error.sqlstate in SETTLED):
                self._note_alone(migration, unit.first, "failed")
                raise refused from None
            self._notice(f"{migration.file}:{statement.line}: had taken effect before the last run ended")
        if index and self._valid(index) is False:
            self._note_alone(migration, unit.first, "failed")
            raise MigrationError(
                f"{migration.file}:{statement.line}: index {index.name} is there but invalid; "
                "the next run drops it and builds it anew"
            )
        self._note_alone(migration, unit.end)

    def _execute_unhurried(self, statement: Statement) -> None:
        """Without our lock timeout: what runs outside a transaction waits for others but blocks nobody."""
        setting = "select setting from pg_catalog.pg_settings where name = 'lock_timeout'"
        ours = scalar(self._connection, setting) == self._lock_timeout
        if ours:
            self._connection.execute("set lock_timeout = 0")
        try:
            self._connection.execute(statement.sql.encode())
        finally:
            if ours and not self._connection.closed:
                self._limit_waiting()

    def _limit_waiting(self) -> None:
        self._connection.execute("select set_config('lock_timeout', %s, false)", (self._lock_timeout,))

    def _attempt(self, migration: Migration) -> str | None:
        with self._connection.transaction():
            self._as_ourselves()
            return history.attempt(self._connection, migration.version)

    def _note(self, migration: Migration, done: int, attempt: str | None = None) -> None:
        self._as_ourselves()
        history.note_progress(self._connection, migration.version, done, attempt)

    def _as_ourselves(self) -> None:
        """For the rest of the transaction, whatever role the file has taken on."""
        self._connection.execute("set local session authorization default")
        self._connection.execute("set local role none")

    def _note_alone(self, migration: Migration, done: int, attempt: str | None = None) -> None:
        with self._connection.transaction():
            self._note(migration, done, attempt)

    def _valid(self, index: ConcurrentIndex) -> bool | None:
        """``None`` for one whose name Postgres found, too: it fails where it leaves an invalid one behind."""
        if index.name is None:
            return None
        valid: bool | None = scalar(
            self._connection,
            "select i.indisvalid from pg_catalog.pg_index i "
            "join pg_catalog.pg_class c on c.oid = i.indexrelid "
            "where i.indrelid = to_regclass(%s) and c.relname = (parse_ident(%s))[1]",
            (index.table, index.name),
        )
        return valid

    def _drop_if_invalid(self, index: ConcurrentIndex) -> None:
        if index.name is None:
            self._tell_invalid(index.table)
        if self._valid(index) is not False:
            return
        name = scalar(
            self._connection,
            "select format('%%I.%%I', n.nspname, (parse_ident(%s))[1]) from pg_catalog.pg_class c "
            "join pg_catalog.pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass(%s)",
            (index.name, index.table),
        )
        self._notice(f"dropping {name}, left invalid by the last run")
        self._connection.execute(f"drop index concurrently {name}".encode())

    def _tell_invalid(self, table: str) -> None:
        """Which of a table's indexes are invalid: without a name nobody knows whose they are."""
        query = (
            "select indexrelid::regclass::text from pg_catalog.pg_index "
            "where indrelid = to_regclass(%s) and not indisvalid"
        )
        for (name,) in self._connection.execute(query, (table,)).fetchall():
            self._notice(
                f"index {name} is invalid, perhaps left by the last run: drop it if nobody is building it"
            )


def _require_same_start(migration: Migration, begun: Progress) -> None:
    same = same_meaning(begun.statements[: begun.done], migration.texts[: begun.done])
    if not same or not may_go_on(migration, begun.done):
        raise MigrationError(
            f"{migration.file}: its first {begun.done} statements have run already and were edited since; "
            f"restore them, or finish by hand and then: migrate repair --status applied {migration.version}"
        )


def _outcome(unit: Unit) -> str:
    if unit.first == 0:
        return "nothing of this file was applied"
    return f"statements before {unit.first + 1} have taken effect; migrate up goes on from here"


def failure(migration: Migration, at: Statement | None, error: psycopg.Error, outcome: str) -> ToolkitError:
    """The one line for a statement that failed: file, line, statement, Postgres' message, what is left."""
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        lost = "the connection was lost; a run takes up where it is safe to: migrate up"
        return Unreachable(f"{migration.file}{f':{at.line}' if at else ''}: {lost}")
    diag = error.diag
    message = diag.message_primary or str(error)
    context = (diag.context or "").partition("\n")[0] if not diag.statement_position else None
    extra = [text.rstrip(".") for text in (diag.message_detail, diag.message_hint, context) if text]
    if _NO_EXTENSION.match(message):
        extra = [ELSEWHERE]  # rather than where on the server's disk it was looked for
    if isinstance(error, ONLY_OUTSIDE):
        extra.append("it cannot stand between BEGIN and COMMIT")
    if at is not None and (do := advice(at, error)):
        extra.append(do)
    code = f" ({error.sqlstate})" if error.sqlstate else ""
    line = "; ".join([f"{_place(migration, at, error)}: {message}{code}", *extra, outcome])
    return MigrationError(" ".join(line.split()))


_IN_ROWS = re.compile(r"COPY .*, line (\d+)")


def _place(migration: Migration, at: Statement | None, error: psycopg.Error) -> str:
    if at is None:
        return f"{migration.file}, at the end of the transaction"
    position = error.diag.statement_position
    line = migration.line_at(at.offset + int(position) - 1) if position else at.line
    row = _IN_ROWS.match(error.diag.context or "")
    if row and at.data is not None:
        line = migration.line_at(at.offset + copied(at).offset) + int(row[1]) - 1
    text = _PASSWORD.sub(r"\1'…'", " ".join(at.code.split()))
    short = text if len(text) <= 60 else text[:57] + "..."
    return f"{migration.file}:{line}: statement {migration.statements.index(at) + 1} ({short})"

"""Run one migration file: whole in one transaction, or step by step where it asks for that."""

from __future__ import annotations

import random
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors as pg

from realtime_toolkit.errors import MigrationError, ToolkitError, Unreachable
from realtime_toolkit.migrate import history
from realtime_toolkit.migrate.session import require_lock, reset, scalar, silent
from realtime_toolkit.migrate.sqlsplit import same_meaning
from realtime_toolkit.migrate.units import (
    DIRECTIVE,
    ConcurrentIndex,
    concurrent_index,
    session_settings,
    units,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realtime_toolkit.migrate.files import Migration
    from realtime_toolkit.migrate.history import Progress
    from realtime_toolkit.migrate.session import Connection, Notice
    from realtime_toolkit.migrate.sqlsplit import Statement
    from realtime_toolkit.migrate.units import Unit

WORTH_REPEATING = (pg.LockNotAvailable, pg.DeadlockDetected, pg.SerializationFailure)
ONLY_OUTSIDE = (pg.ActiveSqlTransaction, pg.InvalidTransactionTermination)
"""How Postgres refuses what must run outside a transaction: VACUUM and its like, a procedure that commits."""

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
            if migration.transactional:
                return self._retrying(lambda: self._whole(migration))
            return self._stepwise(migration, begun)
        except Refused as refused:
            if not self._others_did(migration):
                raise refused.error from None
            self._notice(f"{migration.file} was applied by another tool meanwhile")
            return False

    def _others_did(self, migration: Migration) -> bool:
        if self._connection.closed:
            return False
        reset(self._connection)
        return history.read(self._connection).row(migration.version) is not None

    def _retrying(self, work: Callable[[], bool]) -> bool:
        for attempt in range(1, self._attempts):
            try:
                return work()
            except Refused as refused:
                if not isinstance(refused.cause, WORTH_REPEATING):
                    raise
                pause = random.uniform(0, min(5.0, 0.2 * 2**attempt))
                self._notice(f"{refused.error}; attempt {attempt + 1} of {self._attempts} in {pause:.1f} s")
                time.sleep(pause)
        return work()

    # -- in one transaction

    def _whole(self, migration: Migration) -> bool:
        (unit,) = units(migration)
        at: Statement | None = None
        try:
            with self._connection.transaction():
                if not self._ours(migration):
                    return False
                for at in unit.statements:
                    self._connection.execute(at.text.encode())
                at = None
                reset(self._connection)
                history.record(self._connection, migration)
        except psycopg.Error as error:
            raise Refused(error, failure(migration, at, error, "nothing of this file was applied")) from None
        return True

    def _ours(self, migration: Migration) -> bool:
        """False if the Supabase CLI, which knows no lock, was first; if it still is at work, its row will be
        in the way of ours, and one of the two transactions fails as a whole.
        """
        require_lock(self._connection)
        query = "select exists (select from supabase_migrations.schema_migrations where version = %s)"
        return not scalar(self._connection, query, (migration.version,))

    # -- step by step

    def _stepwise(self, migration: Migration, begun: Progress | None) -> bool:
        done = begun.done if begun else 0
        steps = units(migration)
        if begun is not None:
            _require_same_start(migration, begun, steps)
            self._notice(f"{migration.file}: going on after {done} of {len(migration.statements)} statements")
            for statement in session_settings(migration.statements[:done]):
                self._connection.execute(statement.text.encode())
        history.create_progress(self._connection)
        history.begin_progress(self._connection, migration)
        for unit in steps:
            if unit.end > done:
                self._retrying(lambda unit=unit: self._step(migration, unit))  # type: ignore[misc]
        with self._connection.transaction():
            reset(self._connection)
            history.forget_progress(self._connection, migration.version)
            history.record(self._connection, migration)
        return True

    def _step(self, migration: Migration, unit: Unit) -> bool:
        at: Statement | None = None
        try:
            with self._connection.transaction():
                require_lock(self._connection)
                for at in unit.statements:
                    self._connection.execute(at.text.encode())
                at = None
                self._note(migration, unit.end)
        except psycopg.Error as error:
            if isinstance(error, ONLY_OUTSIDE) and not unit.explicit:
                return self._outside(migration, unit)
            raise Refused(error, failure(migration, at, error, _stepped(unit))) from None
        return True

    def _outside(self, migration: Migration, unit: Unit) -> bool:
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
            refused = Refused(error, failure(migration, statement, error, _stepped(unit)))
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
        return True

    def _execute_unhurried(self, statement: Statement) -> None:
        """Without our lock timeout: what runs outside a transaction waits for others but blocks nobody."""
        setting = "select setting from pg_catalog.pg_settings where name = 'lock_timeout'"
        ours = scalar(self._connection, setting) == self._lock_timeout
        if ours:
            self._connection.execute("set lock_timeout = 0")
        try:
            self._connection.execute(statement.text.encode())
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
        valid: bool | None = scalar(
            self._connection,
            "select i.indisvalid from pg_catalog.pg_index i "
            "join pg_catalog.pg_class c on c.oid = i.indexrelid "
            "where i.indrelid = to_regclass(%s) and c.relname = (parse_ident(%s))[1]",
            (index.table, index.name),
        )
        return valid

    def _drop_if_invalid(self, index: ConcurrentIndex) -> None:
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


def _require_same_start(migration: Migration, begun: Progress, steps: Sequence[Unit]) -> None:
    same = same_meaning(begun.statements[: begun.done], migration.texts[: begun.done])
    if not same or begun.done not in {0, *(unit.end for unit in steps)}:
        raise MigrationError(
            f"{migration.file}: its first {begun.done} statements have run already and were edited since; "
            f"restore them, or finish by hand and then: migrate repair --status applied {migration.version}"
        )


def _stepped(unit: Unit) -> str:
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
    if isinstance(error, ONLY_OUTSIDE) and migration.transactional:
        extra.append(f"put it in a file that begins with: {DIRECTIVE}")
    code = f" ({error.sqlstate})" if error.sqlstate else ""
    line = "; ".join([f"{_place(migration, at, error)}: {message}{code}", *extra, outcome])
    return MigrationError(" ".join(line.split()))


def _place(migration: Migration, at: Statement | None, error: psycopg.Error) -> str:
    if at is None:
        return f"{migration.file}, at the end of the transaction"
    position = error.diag.statement_position
    line = migration.line_at(at.offset + int(position) - 1) if position else at.line
    text = _PASSWORD.sub(r"\1'…'", " ".join(at.code.split()))
    short = text if len(text) <= 60 else text[:57] + "..."
    return f"{migration.file}:{line}: statement {migration.statements.index(at) + 1} ({short})"

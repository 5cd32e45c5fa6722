"""Apply migrations, and say what stands where; the history is shared with the Supabase CLI.

Everything here is synchronous. Results are frozen dataclasses with ``as_dict()``; errors are of
:mod:`toolkit.errors`, one line each. ``notice`` takes a line of progress at a time (for stderr).
"""

from __future__ import annotations

import random
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from toolkit.errors import MigrationError, ToolkitError, Unreachable
from toolkit.migration_files import (
    Migration,
    Problem,
    Track,
    init,
    migrations_of,
    new,
    packaged_migrations,
    problems,
    read_directory,
)
from toolkit.migration_session import (
    RETRYABLE,
    Recorded,
    connect,
    create_history,
    exclusive,
    read_history,
    record,
    refuse_transaction_pooler,
    require_lock,
    reset,
)
from toolkit.sqlsplit import Statement, same_meaning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from toolkit.migration_session import Connection, Notice

__all__ = [
    "Entry",
    "State",
    "StatusReport",
    "Track",
    "UpResult",
    "apply_all",
    "init",
    "migrations_of",
    "new",
    "packaged_migrations",
    "status",
    "up",
]


class State(StrEnum):
    APPLIED = "applied"
    REFORMATTED = "reformatted"
    """Applied, and the file has since changed in layout or comments only."""
    EDITED = "edited"
    """Applied, and the file now says something else."""
    PENDING = "pending"
    OUT_OF_ORDER = "out_of_order"
    """Not applied although a later version is."""
    MISSING = "missing"
    """Applied, and there is no such file."""


BLOCKING = frozenset({State.EDITED, State.OUT_OF_ORDER, State.MISSING})


@dataclass(frozen=True, slots=True)
class Entry:
    """One version, as the directory and the history have it together."""

    version: str
    name: str
    state: State
    file: str | None = None


@dataclass(frozen=True, slots=True)
class StatusReport:
    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def pending(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.state in (State.PENDING, State.OUT_OF_ORDER))

    @property
    def ok(self) -> bool:
        """Everything applied, nothing edited or missing: what ``--exit-code`` asks."""
        return not self.blocked and not self.pending

    @property
    def blocked(self) -> bool:
        """Whether ``up`` would refuse."""
        return any(problem.fatal for problem in self.problems) or any(
            e.state in BLOCKING for e in self.entries
        )

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok, "pending": [entry.version for entry in self.pending]}


@dataclass(frozen=True, slots=True)
class UpResult:
    """``applied`` are the files this run applied, in order; ``already`` how many were there before."""

    applied: tuple[str, ...]
    already: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(migrations: Sequence[Migration], history: Sequence[Recorded]) -> tuple[Entry, ...]:
    """Directory and history side by side, in version order. Pure."""
    recorded = {row.version: row for row in history}
    newest = max(recorded, default="")
    entries = [_entry(migration, recorded.get(migration.version), newest) for migration in migrations]
    known = {migration.version for migration in migrations}
    entries += [Entry(row.version, row.name, State.MISSING) for row in history if row.version not in known]
    return tuple(sorted(entries, key=lambda entry: entry.version))


def _entry(migration: Migration, row: Recorded | None, newest: str) -> Entry:
    if row is None:
        state = State.PENDING if migration.version > newest else State.OUT_OF_ORDER
    elif row.statements is None or list(row.statements) == migration.texts:
        state = State.APPLIED
    else:
        state = State.REFORMATTED if same_meaning(row.statements, migration.texts) else State.EDITED
    return Entry(migration.version, migration.name, state, migration.file)


def status(dsn: str, directory: Path) -> StatusReport:
    """Compare the directory with the database's history; changes nothing."""
    migrations = read_directory(directory)
    with closing(connect(dsn)) as connection:
        return StatusReport(compare(migrations, read_history(connection)), problems(directory))


def up(
    dsn: str,
    directory: Path,
    *,
    include_all: bool = False,
    wait: float = 60.0,
    lock_timeout: float = 4.0,
    attempts: int = 8,
    notice: Notice = lambda _: None,
) -> UpResult:
    """Apply what is pending, each file in one transaction together with its history row.

    ``wait`` is how long (s) another run may hold the migration lock; ``lock_timeout`` (s) how long a
    statement may wait for a lock on a table, tried again ``attempts`` times with full jitter.
    ``include_all`` also applies files older than the newest applied one.
    """
    begun = time.monotonic()
    migrations = _usable(directory)
    with closing(connect(dsn, wait=wait, notice=notice)) as connection:
        already = 0
        done: tuple[str, ...] = ()
        if _pending(migrations, read_history(connection), include_all, notice):
            refuse_transaction_pooler(dsn, connection)
            with exclusive(connection, wait=wait, notice=notice):
                create_history(connection)
                pending = _pending(migrations, read_history(connection), include_all, notice)
                already = len(migrations) - len(pending)
                runner = _Runner(connection, lock_timeout, attempts, notice)
                done = tuple(migration.file for migration in pending if runner.apply(migration))
        else:
            already = len(migrations)
    return UpResult(done, already, time.monotonic() - begun)


def apply_all(dsn: str, directory: Path) -> UpResult:
    """:func:`up` with its defaults, for the local stack."""
    return up(dsn, directory)


def _usable(directory: Path) -> tuple[Migration, ...]:
    """Everything that can be refused without a database is refused here."""
    migrations = read_directory(directory)
    fatal = [problem.message for problem in problems(directory) if problem.fatal]
    if fatal:
        raise MigrationError("; ".join(fatal))
    return migrations


def _pending(
    migrations: Sequence[Migration], history: Sequence[Recorded], include_all: bool, notice: Notice
) -> list[Migration]:
    by_version = {migration.version: migration for migration in migrations}
    entries = compare(migrations, history)
    for state, say in _REFUSALS:
        wrong = [entry for entry in entries if entry.state is state]
        if wrong and not (include_all and state is State.OUT_OF_ORDER):
            raise MigrationError(say(wrong))
    return [by_version[e.version] for e in entries if e.state in (State.PENDING, State.OUT_OF_ORDER)]


def _names(entries: Sequence[Entry]) -> str:
    return ", ".join(entry.file or entry.version for entry in entries)


_REFUSALS = (
    (
        State.MISSING,
        lambda wrong: (
            f"the database has migrations that the directory lacks: {_names(wrong)}; get the files (git pull), "
            f"or strike them from the history: migrate repair --status reverted {' '.join(e.version for e in wrong)}"
        ),
    ),
    (
        State.EDITED,
        lambda wrong: (
            f"already applied and edited since: {_names(wrong)}; restore the file and write a new migration, or "
            f"accept the edit: migrate repair --status applied {' '.join(e.version for e in wrong)}"
        ),
    ),
    (
        State.OUT_OF_ORDER,
        lambda wrong: (
            f"older than the newest applied migration: {_names(wrong)}; apply them all the same with "
            "migrate up --include-all, or rename them to a later version"
        ),
    ),
)


class _Runner:
    def __init__(self, connection: Connection, lock_timeout: float, attempts: int, notice: Notice) -> None:
        self._connection = connection
        self._lock_timeout = f"{int(lock_timeout * 1000)}ms"
        self._attempts = attempts
        self._notice = notice

    def apply(self, migration: Migration) -> bool:
        """Apply one file; false if another tool has done so meanwhile."""
        self._notice(f"applying {migration.file}")
        for attempt in range(1, self._attempts + 1):
            try:
                return self._in_transaction(migration)
            except _Failed as failed:
                if not isinstance(failed.cause, RETRYABLE) or attempt == self._attempts:
                    raise failed.error from None
                pause = random.uniform(0, min(5.0, 0.2 * 2**attempt))
                self._notice(f"{failed.error}; trying again in {pause:.1f} s ({attempt} of {self._attempts})")
                time.sleep(pause)
        return False

    def _in_transaction(self, migration: Migration) -> bool:
        connection, at = self._connection, None
        reset(connection)
        connection.execute("select set_config('lock_timeout', %s, false)", (self._lock_timeout,))
        try:
            with connection.transaction():
                require_lock(connection)
                for at in migration.statements:
                    connection.execute(at.text.encode())
                at = None
                reset(connection)
                record(connection, migration.version, migration.name, migration.texts)
        except psycopg.Error as error:
            raise _Failed(error, failure(migration, at, error)) from None
        return True


class _Failed(Exception):
    def __init__(self, cause: psycopg.Error, error: ToolkitError) -> None:
        self.cause, self.error = cause, error


def failure(migration: Migration, at: Statement | None, error: psycopg.Error) -> ToolkitError:
    """The one line for a statement that failed: file, line, Postgres' message, statement, what is left."""
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return Unreachable(
            f"{migration.file}: the connection was lost; the file is applied whole or not at all: run it again"
        )
    message = error.diag.message_primary or str(error)
    extra = [text for text in (error.diag.message_detail, error.diag.message_hint) if text]
    code = f" ({error.sqlstate})" if error.sqlstate else ""
    where, which = migration.file, "while committing"
    if at is not None:
        offset = at.offset + int(error.diag.statement_position or 1) - 1
        line = migration.line_at(offset) if error.diag.statement_position else at.line
        number = migration.statements.index(at) + 1
        where = f"{migration.file}:{line}"
        which = f"in statement {number} of {len(migration.statements)}, {_short(at)}"
    text = " ".join(" ".join([f"{where}: {message}{code}", *extra, which]).split())
    return MigrationError(f"{text}; nothing of this file was applied")


def _short(statement: Statement) -> str:
    text = (
        " ".join(statement.text[statement.text.lower().find(statement.words[0]) :].split())
        if statement.words
        else ""
    )
    return text if len(text) <= 60 else text[:57] + "..."

"""Apply migrations, and say what stands where; the history is shared with the Supabase CLI.

    files     what a directory holds        →  Migration, Problem; init, new
    history   what the database remembers   →  Entry, State: the two compared
    units     what commits together, what no migration can contain
    send      statements to the server, many at a time; dumped: what a dump holds and no project takes
    run       one file into the database    →  in one transaction, or resumable step by step
    seed      roles.sql before, seed files after, as the project's configuration says
    plan      the same in a transaction that is rolled back  →  locks, rewrites
    session   one connection, one lock, no transaction-mode pooler

Everything here is synchronous. Results are frozen dataclasses with ``as_dict()``; errors are those of
:mod:`realtime_toolkit.errors`, one line each. ``notice`` takes a line of progress at a time (for stderr).
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from realtime_toolkit.errors import InputError, MigrationError
from realtime_toolkit.migrate import history, seed
from realtime_toolkit.migrate.files import (
    CopiedFile,
    CopyState,
    Created,
    Initialised,
    Migration,
    Problem,
    ProblemCode,
    Track,
    init,
    migrations_of,
    new,
    packaged_migrations,
    problems,
    read_directory,
)
from realtime_toolkit.migrate.history import TO_DO, Entry, State, StatusReport, compare
from realtime_toolkit.migrate.plan import Lock, Plan, PlannedFile, PlannedStatement, rehearse, unrehearsed
from realtime_toolkit.migrate.repair import Baseline, Repaired, baseline, repair
from realtime_toolkit.migrate.run import Runner
from realtime_toolkit.migrate.seed import inputs
from realtime_toolkit.migrate.session import (
    address,
    connect,
    exclusive,
    is_local,
    refuse_transaction_pooler,
    silent,
    translated,
)
from realtime_toolkit.migrate.units import may_go_on, units

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from realtime_toolkit.migrate.history import History
    from realtime_toolkit.migrate.session import Connection, Notice

__all__ = [
    "Baseline",
    "CopiedFile",
    "CopyState",
    "Created",
    "Entry",
    "Initialised",
    "Lock",
    "Migration",
    "Plan",
    "PlannedFile",
    "PlannedStatement",
    "Problem",
    "ProblemCode",
    "Repaired",
    "State",
    "StatusReport",
    "Track",
    "UpResult",
    "apply_all",
    "baseline",
    "compare",
    "init",
    "inputs",
    "is_local",
    "migrations_of",
    "new",
    "packaged_migrations",
    "plan",
    "problems",
    "read_directory",
    "repair",
    "status",
    "up",
]


@dataclass(frozen=True, slots=True)
class UpResult:
    """``applied`` are the files this run applied, in order; ``already`` how many were there without it.

    ``seeds`` are the seed files it ran.
    """

    applied: tuple[str, ...]
    already: int
    seconds: float
    seeds: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def status(dsn: str, directory: Path) -> StatusReport:
    """Compare the directory with the database's history; changes nothing."""
    migrations, found = read_directory(directory), problems(directory)
    with translated(dsn), closing(connect(dsn)) as connection:
        return StatusReport(compare(migrations, history.read(connection)), found)


def up(
    dsn: str,
    directory: Path,
    *,
    target: str | None = None,
    include_all: bool = False,
    include_roles: bool = False,
    include_seed: bool = False,
    wait: float = 60.0,
    lock_timeout: float = 4.0,
    attempts: int = 8,
    notice: Notice = silent,
) -> UpResult:
    """Apply what is pending, each file in one transaction together with its history row, as far as that can be.

    ``target`` is the last version to apply. ``include_all`` also applies files older than the newest
    applied one; ``include_roles`` runs ``supabase/roles.sql`` before, ``include_seed`` the seed files that
    have not run yet after (:mod:`realtime_toolkit.migrate.seed`). ``wait`` (s) is how long another run may hold the migration lock; ``lock_timeout`` (s) how
    long a statement may wait for a lock on a table, tried again up to ``attempts`` times with full jitter.

    Raises :class:`MigrationError` if a file fails (it leaves nothing behind, the files before it stay
    applied) or if directory and history do not fit, before anything is changed; :class:`ConfigError` for
    a transaction-mode pooler.
    """
    begun = time.monotonic()
    project = seed.project(directory)
    migrations = _up_to(usable(directory, notice), target)
    if project is not None and not project.migrations:
        notice("migrations are left out: the project's configuration says enabled = false")
        migrations = ()

    def pending(connection: Connection) -> tuple[History, list[Migration]]:
        seen = history.read(connection)
        if project is not None and not project.migrations:
            return seen, []
        return seen, to_apply(migrations, seen, include_all=include_all, target=target)

    with translated(dsn), closing(connect(dsn, wait=wait, notice=notice)) as connection:
        tell_edited(migrations, pending(connection)[0], notice)
        if include_roles:
            _apply_roles(dsn, connection, project, wait, notice)
        runner = Runner(connection, lock_timeout=lock_timeout, attempts=attempts, notice=notice)
        applied = _apply_under_lock(dsn, connection, pending, runner, wait, notice)
        seeds: tuple[str, ...] = ()
        if include_seed:
            for last in [m for m in migrations if applied and m.file == applied[-1]]:
                runner.say_settings_again(last)
            seeds = _apply_seeds(dsn, connection, project, wait, notice)
    return UpResult(applied, len(migrations) - len(applied), time.monotonic() - begun, seeds)


def _apply_roles(
    dsn: str, connection: Connection, project: seed.Project | None, wait: float, notice: Notice
) -> None:
    if project is None or project.roles is None:
        notice("there is no supabase/roles.sql beside the migrations")
        return
    refuse_transaction_pooler(dsn, connection)
    with exclusive(connection, wait=wait, notice=notice):
        seed.apply_roles(connection, project.roles, notice)


def _apply_seeds(
    dsn: str, connection: Connection, project: seed.Project | None, wait: float, notice: Notice
) -> tuple[str, ...]:
    if project is None:
        notice("there is no project, and so no seed file, around these migrations")
        return ()
    if not seed.pending_seeds(connection, project, notice):
        return ()
    refuse_transaction_pooler(dsn, connection)
    with exclusive(connection, wait=wait, notice=notice):
        return seed.apply_seeds(connection, seed.pending_seeds(connection, project, silent), notice)


def plan(
    dsn: str,
    directory: Path,
    *,
    target: str | None = None,
    include_all: bool = False,
    rehearse_on: str | None = None,
    allow_remote: bool = False,
    lock_timeout: float = 4.0,
    notice: Notice = silent,
) -> Plan:
    """What ``up`` would do on ``dsn``, with the locks each statement takes.

    The locks come from running the files in one transaction that is rolled back: on ``dsn`` itself if that
    is this machine or ``allow_remote`` is set, or else on ``rehearse_on``, a throw-away database such as an
    ephemeral local stack, to which the files that ``dsn`` has are applied first if they are not there. With
    neither, nothing is run: the plan is SQL and order alone, ``rehearsed`` false.

    Raises as :func:`up` does where ``up`` would refuse to begin.
    """
    migrations = _up_to(usable(directory, notice), target)
    with translated(dsn), closing(connect(dsn, notice=notice)) as connection:
        seen = history.read(connection)
    tell_edited(migrations, seen, notice)
    pending = to_apply(migrations, seen, include_all=include_all, target=target)
    if pending and rehearse_on:
        _catch_up(rehearse_on, migrations, pending, notice)
    elif not pending or not (is_local(dsn) or allow_remote):
        return unrehearsed(pending)
    return rehearse(rehearse_on or dsn, pending, lock_timeout=lock_timeout, notice=notice)


def _catch_up(
    dsn: str, migrations: Sequence[Migration], pending: Sequence[Migration], notice: Notice
) -> None:
    """Bring a rehearsal database to where the real one is."""

    def missing(connection: Connection) -> tuple[History, list[Migration]]:
        seen = history.read(connection)
        ahead = [migration.file for migration in pending if seen.row(migration.version)]
        if ahead:
            raise InputError(f"{address(dsn)} has {', '.join(ahead)} already: rehearse on an empty database")
        return seen, [m for m in migrations if m not in pending and seen.row(m.version) is None]

    with translated(dsn), closing(connect(dsn, notice=notice)) as connection:
        _apply_under_lock(dsn, connection, missing, Runner(connection, notice=notice), 60.0, notice)


def _up_to(migrations: tuple[Migration, ...], target: str | None) -> tuple[Migration, ...]:
    if target is not None and target not in {migration.version for migration in migrations}:
        raise InputError(f"no migration has version {target}")
    return tuple(m for m in migrations if target is None or m.version <= target)


def apply_all(dsn: str, directory: Path) -> UpResult:
    """All of a project, for the local stack: roles where the database is new, migrations, seeds if they are enabled."""
    project = seed.project(directory)
    if project is not None and project.roles is not None:
        with translated(dsn), closing(connect(dsn)) as connection:
            if not history.read(connection).rows:
                seed.roles_that_are_new(connection, project.roles, silent)
    return up(dsn, directory, include_seed=project is not None and project.seed)


def _apply_under_lock(
    dsn: str,
    connection: Connection,
    pending: Callable[[Connection], tuple[History, list[Migration]]],
    runner: Runner,
    wait: float,
    notice: Notice,
) -> tuple[str, ...]:
    if not pending(connection)[1]:
        return ()
    refuse_transaction_pooler(dsn, connection)
    with exclusive(connection, wait=wait, notice=notice, unless=lambda: not pending(connection)[1]) as ours:
        if not ours:
            return ()
        history.create(connection)
        seen, files = pending(connection)
        begun = {progress.version: progress for progress in seen.progress}
        return tuple(m.file for m in files if runner.apply(m, begun.get(m.version)))


def usable(directory: Path, notice: Notice = silent) -> tuple[Migration, ...]:
    """The directory's files; whatever can be said against them without a database is said here."""
    migrations = read_directory(directory)
    for problem in problems(directory):
        if problem.stops:
            raise MigrationError(problem.message)
        notice(problem.message)
    return migrations


def to_apply(
    migrations: Sequence[Migration],
    seen: History,
    *,
    include_all: bool = False,
    target: str | None = None,
) -> list[Migration]:
    """What ``up`` would apply, in order. Pure. :class:`MigrationError` if it must not, with the way out."""
    entries = [e for e in compare(migrations, seen) if target is None or e.version <= target]
    for state, refusal in _REFUSALS:
        wrong = [entry for entry in entries if entry.state is state]
        if wrong and not (include_all and state is State.OUT_OF_ORDER):
            raise MigrationError(refusal(wrong))
    files = {entry.file for entry in entries if entry.state in TO_DO}
    pending = [migration for migration in migrations if migration.file in files]
    for migration in pending:
        whole = len(units(migration)) == 1
        done = next((begun.done for begun in seen.progress if begun.version == migration.version), 0)
        if done and whole and migration.transactional and not may_go_on(migration, done):
            raise MigrationError(
                f"{migration.file} was begun without a transaction: put its directive back to go on"
            )
    return pending


def tell_edited(migrations: Sequence[Migration], seen: History, notice: Notice) -> None:
    """Whoever follows only the history, as the Supabase CLI, would never learn that a file was edited."""
    edited = [entry for entry in compare(migrations, seen) if entry.state is State.EDITED]
    if edited:
        notice(
            f"edited after they were applied, and so not what the database has: {_files(edited)}; put the change into a "
            f"new migration, or, if the database has it already: migrate repair --status applied {_versions(edited)}"
        )


def _files(wrong: Sequence[Entry]) -> str:
    return ", ".join(entry.file or entry.version for entry in wrong)


def _versions(wrong: Sequence[Entry]) -> str:
    return " ".join(entry.version for entry in wrong)


def _missing(wrong: Sequence[Entry]) -> str:
    return (
        f"the database has migrations that the directory lacks: {_files(wrong)}; get their files (git pull, "
        f"or migrate baseline), or strike them off: migrate repair --status reverted {_versions(wrong)}"
    )


def _out_of_order(wrong: Sequence[Entry]) -> str:
    return (
        f"older than the newest applied migration: {_files(wrong)}; apply them all the same with "
        "migrate up --include-all, or rename them to a version after the newest"
    )


_REFUSALS = (
    (State.MISSING, _missing),
    (State.OUT_OF_ORDER, _out_of_order),
)

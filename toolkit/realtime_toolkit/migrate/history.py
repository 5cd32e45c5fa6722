"""The history table, which is the Supabase CLI's, and how it compares with a directory.

``supabase_migrations.schema_migrations(version, statements, name)``; beside it, in
``supabase_migrations.realtime_toolkit_progress``, how far a no-transaction file has come that has not
ended yet. A file that has ended has a row in the first and none in the second.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from psycopg import errors as pg

from realtime_toolkit.migrate.session import scalar
from realtime_toolkit.migrate.sqlsplit import same_meaning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_toolkit.migrate.files import Migration, Problem
    from realtime_toolkit.migrate.session import Connection

_CREATE = (
    "create schema if not exists supabase_migrations",
    "create table if not exists supabase_migrations.schema_migrations (version text not null primary key)",
    "alter table supabase_migrations.schema_migrations add column if not exists statements text[]",
    "alter table supabase_migrations.schema_migrations add column if not exists name text",
)
_COLUMNS = """
select count(*) from pg_catalog.pg_attribute
where attrelid = to_regclass('supabase_migrations.schema_migrations')
  and attname in ('version', 'statements', 'name') and not attisdropped
"""
_CREATE_PROGRESS = """
create table if not exists supabase_migrations.realtime_toolkit_progress (
  version text primary key, statements text[] not null, done int not null default 0, attempt text
)
"""
# By way of jsonb, because a history begun by an old CLI may have the version alone.
_READ = """
select h.version, coalesce(to_jsonb(h) ->> 'name', ''), to_jsonb(h) -> 'statements'
from supabase_migrations.schema_migrations h order by h.version collate "C"
"""
_RECORD = """
insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, %s)
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A row of the history; ``statements`` is ``None`` where a tool recorded the version alone."""

    version: str
    name: str
    statements: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a no-transaction file has come: its first ``done`` statements have taken effect.

    ``attempt`` says of the next one, if it ran outside a transaction, that it ``failed``, or that it is
    ``running``: then the run ended during it, and whether it took effect is not known.
    """

    version: str
    statements: tuple[str, ...]
    done: int = 0
    attempt: str | None = None


@dataclass(frozen=True, slots=True)
class History:
    """All that the database knows of migrations."""

    rows: tuple[Recorded, ...] = ()
    progress: tuple[Progress, ...] = ()

    def row(self, version: str) -> Recorded | None:
        return next((row for row in self.rows if row.version == version), None)


def create(connection: Connection) -> None:
    """Make the history table if it is not there, as the CLI makes it.

    One that is whole is not touched: ALTER TABLE would wait for whoever is writing to it.
    """
    if scalar(connection, _COLUMNS) == 3:
        return
    try:
        with connection.transaction():
            connection.execute("set local client_min_messages = warning")
            connection.execute("set local lock_timeout = '10s'")
            for statement in _CREATE:
                connection.execute(statement)
    except (pg.UniqueViolation, pg.DuplicateTable, pg.DuplicateSchema, pg.DuplicateColumn):
        if scalar(connection, _COLUMNS) != 3:  # else the Supabase CLI has just made it
            raise


def read(connection: Connection) -> History:
    """Both tables in one snapshot; what is not there yet is empty."""
    with connection.transaction():
        connection.execute("set transaction isolation level repeatable read, read only")
        if not _exists(connection, "schema_migrations"):
            return History()
        rows = [Recorded(v, n, None if s is None else tuple(s)) for v, n, s in connection.execute(_READ)]
        return History(tuple(rows), tuple(_progress(connection)))


def _exists(connection: Connection, table: str) -> bool:
    return scalar(connection, "select to_regclass(%s) is not null", (f"supabase_migrations.{table}",)) is True


def _progress(connection: Connection) -> list[Progress]:
    if not _exists(connection, "realtime_toolkit_progress"):
        return []
    rows = connection.execute(
        "select version, statements, done, attempt from supabase_migrations.realtime_toolkit_progress "
        "order by version"
    )
    return [
        Progress(version, tuple(statements), done, attempt) for version, statements, done, attempt in rows
    ]


def record(connection: Connection, migration: Migration) -> None:
    """Write the row of an applied file; a unique violation if another tool has."""
    connection.execute(_RECORD, (migration.version, migration.name, migration.texts))


def forget(connection: Connection, version: str) -> bool:
    """Strike a version from both tables; false if neither had it."""
    gone = forget_progress(connection, version)
    query = "delete from supabase_migrations.schema_migrations where version = %s"
    return connection.execute(query, (version,)).rowcount > 0 or gone


def create_progress(connection: Connection) -> None:
    connection.execute("set client_min_messages = warning")
    connection.execute(_CREATE_PROGRESS)
    connection.execute("reset client_min_messages")


def begin_progress(connection: Connection, migration: Migration) -> None:
    connection.execute(
        "insert into supabase_migrations.realtime_toolkit_progress (version, statements) values (%s, %s) "
        "on conflict (version) do update set statements = excluded.statements",
        (migration.version, migration.texts),
    )


def attempt(connection: Connection, version: str) -> str | None:
    query = "select attempt from supabase_migrations.realtime_toolkit_progress where version = %s"
    found: str | None = scalar(connection, query, (version,))
    return found


def note_progress(connection: Connection, version: str, done: int, attempt: str | None = None) -> None:
    connection.execute(
        "update supabase_migrations.realtime_toolkit_progress set done = %s, attempt = %s where version = %s",
        (done, attempt, version),
    )


def forget_progress(connection: Connection, version: str) -> bool:
    if not _exists(connection, "realtime_toolkit_progress"):
        return False
    query = "delete from supabase_migrations.realtime_toolkit_progress where version = %s"
    return connection.execute(query, (version,)).rowcount > 0


# -- comparing ----------------------------------------------------------------------------------------


class State(StrEnum):
    """Where a version stands between the directory and the history."""

    APPLIED = "applied"
    REFORMATTED = "reformatted"
    """Applied, and the file has since changed in layout or comments only."""
    EDITED = "edited"
    """Applied, and the file now says something else."""
    PENDING = "pending"
    PARTIAL = "partial"
    """A no-transaction file that has not ended; the next run goes on where it stopped."""
    OUT_OF_ORDER = "out_of_order"
    """Not applied although a later version is."""
    MISSING = "missing"
    """Applied, and there is no such file."""


TO_DO = frozenset({State.PENDING, State.PARTIAL, State.OUT_OF_ORDER})
BLOCKING = frozenset({State.OUT_OF_ORDER, State.MISSING})


@dataclass(frozen=True, slots=True)
class Entry:
    """One version; ``done`` of ``total`` statements have run where its state is ``partial``."""

    version: str
    name: str
    state: State
    file: str | None = None
    done: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Every version that the directory or the database knows, in order, and the directory's problems."""

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def pending(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.state in TO_DO)

    @property
    def blocked(self) -> bool:
        """Whether ``up`` would refuse."""
        return any(entry.state in BLOCKING for entry in self.entries) or any(
            problem.stops for problem in self.problems
        )

    @property
    def ok(self) -> bool:
        """Everything applied, nothing edited or missing: what ``--exit-code`` asks."""
        edited = any(entry.state is State.EDITED for entry in self.entries)
        return not self.blocked and not self.pending and not edited

    def as_dict(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "pending": [entry.version for entry in self.pending],
            "blocked": self.blocked,
            "ok": self.ok,
        }


def compare(migrations: Sequence[Migration], history: History) -> tuple[Entry, ...]:
    """Directory and history side by side, in version order. Pure."""
    rows = {row.version: row for row in history.rows}
    progress = {begun.version: begun for begun in history.progress}
    newest = max(rows, default="")
    entries = [_entry(m, rows.get(m.version), progress.get(m.version), newest) for m in migrations]
    files = {migration.version for migration in migrations}
    lost = {**dict.fromkeys(progress, ""), **{v: row.name for v, row in rows.items()}}
    entries += [Entry(version, name, State.MISSING) for version, name in lost.items() if version not in files]
    return tuple(sorted(entries, key=lambda entry: entry.version))


def _entry(migration: Migration, row: Recorded | None, begun: Progress | None, newest: str) -> Entry:
    if row is not None:
        return Entry(migration.version, migration.name, _applied(migration, row), migration.file)
    if begun is not None:
        total = len(migration.statements)
        return Entry(migration.version, migration.name, State.PARTIAL, migration.file, begun.done, total)
    state = State.PENDING if migration.version > newest else State.OUT_OF_ORDER
    return Entry(migration.version, migration.name, state, migration.file)


def _applied(migration: Migration, row: Recorded) -> State:
    if row.statements is None or list(row.statements) == migration.texts:
        return State.APPLIED
    return State.REFORMATTED if same_meaning(row.statements, migration.texts) else State.EDITED

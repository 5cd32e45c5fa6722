"""What ``up`` would do: the SQL, the order, and the locks, found by doing it and rolling it back."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as pg

from realtime_toolkit.migrate.run import ONLY_OUTSIDE, failure
from realtime_toolkit.migrate.session import connect, reset, silent, translated
from realtime_toolkit.migrate.sqlsplit import without_word
from realtime_toolkit.migrate.units import units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_toolkit.migrate.files import Migration
    from realtime_toolkit.migrate.session import Connection, Notice
    from realtime_toolkit.migrate.sqlsplit import Statement

_BLOCKS = {
    "AccessShareLock": "",
    "RowShareLock": "",
    "RowExclusiveLock": "",
    "ShareUpdateExclusiveLock": "",
    "ShareLock": "writes",
    "ShareRowExclusiveLock": "writes",
    "ExclusiveLock": "writes",
    "AccessExclusiveLock": "reads and writes",
}
"""Table 13.2 of the Postgres manual, by what a plain SELECT and a plain INSERT, UPDATE or DELETE need."""

# User relations that other sessions can see now: a lock on what this transaction makes is nobody's concern.
_RELATIONS = """
select c.oid, format('%I.%I', n.nspname, c.relname), c.relkind, c.relfilenode
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg\\_toast%'
  and n.nspname not like 'pg\\_temp%' and n.nspname <> 'supabase_migrations'
"""
_LOCKS = """
select l.relation, l.mode from pg_catalog.pg_locks l
where l.pid = pg_backend_pid() and l.locktype = 'relation' and l.granted
  and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
"""
_OF_NO_CONCERN = frozenset({"AccessShareLock", "RowShareLock", "RowExclusiveLock"})
"""On an index these come with every statement that touches its table."""


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock on a relation that others can see; ``blocks``: ``""``, ``writes``, ``reads and writes``."""

    relation: str
    mode: str
    blocks: str


@dataclass(frozen=True, slots=True)
class PlannedStatement:
    """One statement; ``locks`` are those it adds to what the transaction holds, kept until the commit.

    ``rewrites`` names relations that get new files on disk. ``milliseconds`` is what it took in the
    rehearsal, ``None`` where it was not run. ``note`` says why not, or what was done instead.
    """

    line: int
    sql: str
    locks: tuple[Lock, ...] = ()
    rewrites: tuple[str, ...] = ()
    milliseconds: float | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class PlannedFile:
    file: str
    version: str
    transactional: bool
    statements: tuple[PlannedStatement, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """``failure`` is the line with which ``up`` would fail; the statements after it were not rehearsed."""

    files: tuple[PlannedFile, ...]
    rehearsed: bool
    failure: str | None = None

    @property
    def ok(self) -> bool:
        return self.failure is None

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


def unrehearsed(pending: Sequence[Migration]) -> Plan:
    """SQL and order alone."""
    return Plan(tuple(_planned(m, [_unrun(s) for s in m.statements]) for m in pending), rehearsed=False)


def rehearse(
    dsn: str, pending: Sequence[Migration], *, lock_timeout: float = 4.0, notice: Notice = silent
) -> Plan:
    """Run files in one transaction on the database at ``dsn``, watch their locks, and roll all of it back."""
    with translated(dsn), closing(connect(dsn, notice=notice)) as connection:
        connection.execute("begin")
        try:
            return _Rehearsal(connection, lock_timeout).plan(pending)
        finally:
            if not connection.closed:
                connection.execute("rollback")


@dataclass(frozen=True, slots=True)
class _Relation:
    name: str
    kind: str
    file: int


class _Rehearsal:
    def __init__(self, connection: Connection, lock_timeout: float) -> None:
        self._connection = connection
        self._lock_timeout = str(round(lock_timeout * 1000))
        self._relations = self._look()
        self._held = self._locks()
        self._failure: str | None = None

    def plan(self, pending: Sequence[Migration]) -> Plan:
        files = tuple(self._file(migration) for migration in pending)
        return Plan(files, rehearsed=True, failure=self._failure)

    def _file(self, migration: Migration) -> PlannedFile:
        reset(self._connection)
        self._connection.execute("select set_config('lock_timeout', %s, false)", (self._lock_timeout,))
        runs = {statement for unit in units(migration) for statement in unit.statements}
        planned = [
            self._statement(migration, statement)
            if statement in runs and not self._failure
            else _unrun(statement)
            for statement in migration.statements
        ]
        # Its commit would fire what is deferred; a later file must not find it pending.
        self._attempt(migration, None, "set constraints all immediate; set constraints all deferred")
        return _planned(migration, planned)

    def _statement(self, migration: Migration, statement: Statement) -> PlannedStatement:
        begun = time.perf_counter()
        refused = self._attempt(migration, statement, statement.text)
        note = None
        if isinstance(refused, ONLY_OUTSIDE):
            note = "runs outside a transaction"
            if "concurrently" in statement.words:
                note += ": rehearsed without CONCURRENTLY, which takes ShareUpdateExclusiveLock instead"
                self._attempt(migration, statement, without_word(statement.text, "concurrently"))
        elif isinstance(refused, pg.UnsafeNewEnumValueUsage):
            note = "uses an enum value of an earlier file: cannot be rehearsed in one transaction with it"
        took = (time.perf_counter() - begun) * 1000
        return PlannedStatement(
            statement.line, statement.text, self._new_locks(), self._rewrites(), round(took, 3), note
        )

    def _attempt(self, migration: Migration, at: Statement | None, sql: str) -> psycopg.Error | None:
        """Run within a savepoint; keep the line for what would stop ``up``, return what would not."""
        try:
            with self._connection.transaction():
                self._connection.execute(sql.encode())
        except psycopg.Error as error:
            outside = isinstance(error, ONLY_OUTSIDE) and not migration.transactional
            if outside or isinstance(error, pg.UnsafeNewEnumValueUsage):
                return error
            self._failure = self._failure or str(failure(migration, at, error, "up would stop here"))
        return None

    def _look(self) -> dict[int, _Relation]:
        return {oid: _Relation(*rest) for oid, *rest in self._connection.execute(_RELATIONS)}

    def _locks(self) -> set[tuple[int, str]]:
        return {(relation, mode) for relation, mode in self._connection.execute(_LOCKS)}

    def _new_locks(self) -> tuple[Lock, ...]:
        held = self._locks()
        new = [
            Lock(relation.name, mode, _BLOCKS.get(mode, ""))
            for oid, mode in held - self._held
            if (relation := self._relations.get(oid)) is not None
            and not (relation.kind in "iI" and mode in _OF_NO_CONCERN)
        ]
        self._held |= held
        return tuple(sorted(new, key=lambda lock: (lock.relation, lock.mode)))

    def _rewrites(self) -> tuple[str, ...]:
        now = self._look()
        moved = [
            relation.name
            for oid, relation in self._relations.items()
            if oid in now and now[oid].file != relation.file
        ]
        self._relations = {oid: now[oid] for oid in self._relations if oid in now}
        return tuple(sorted(moved))


def _planned(migration: Migration, statements: Sequence[PlannedStatement]) -> PlannedFile:
    return PlannedFile(migration.file, migration.version, migration.transactional, tuple(statements))


def _unrun(statement: Statement) -> PlannedStatement:
    return PlannedStatement(statement.line, statement.text)

"""What ``up`` would do: the SQL, the order, and the locks, found by doing it and rolling it back."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors as pg

from realtime_toolkit.migrate.run import failure
from realtime_toolkit.migrate.send import ONLY_OUTSIDE, Failed, send
from realtime_toolkit.migrate.session import connect, reset, silent, translated
from realtime_toolkit.migrate.sqlsplit import without_word
from realtime_toolkit.migrate.units import How, units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_toolkit.migrate.files import Migration
    from realtime_toolkit.migrate.session import Connection, Notice
    from realtime_toolkit.migrate.sqlsplit import Statement
    from realtime_toolkit.migrate.units import Unit

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
where l.pid = pg_backend_pid() and l.locktype = 'relation' and l.granted and l.relation = any(%s::oid[])
  and l.database = (select oid from pg_catalog.pg_database where datname = current_database())
"""
_FILES = "select oid, relfilenode from pg_catalog.pg_class where oid = any(%s::oid[])"
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
    rehearsal, or its share of what statements took that were sent together; ``None`` where it was not run. ``note`` says why not, or what was done instead.
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
            return _Rehearsal(connection, lock_timeout, notice).plan(pending)
        finally:
            if not connection.closed:
                connection.execute("rollback")


@dataclass(frozen=True, slots=True)
class _Relation:
    name: str
    kind: str
    file: int


_AT_ONCE = 128
"""Statements between two looks at the locks; if these have become more, the same are run again one by one."""


class _Rehearsal:
    """Looking costs as much as there are locks, so it is done once for many statements while nothing is found."""

    def __init__(self, connection: Connection, lock_timeout: float, notice: Notice) -> None:
        self._connection = connection
        self._lock_timeout = str(round(lock_timeout * 1000))
        self._notice = notice
        self._relations: dict[int, _Relation] = {
            oid: _Relation(*rest) for oid, *rest in connection.execute(_RELATIONS)
        }
        self._visible = list(self._relations)
        self._held = self._locks()
        self._failure: str | None = None
        self._closely = False

    def plan(self, pending: Sequence[Migration]) -> Plan:
        files = tuple(self._file(migration) for migration in pending)
        return Plan(files, rehearsed=True, failure=self._failure)

    def _file(self, migration: Migration) -> PlannedFile:
        reset(self._connection)
        self._connection.execute("select set_config('lock_timeout', %s, false)", (self._lock_timeout,))
        ran: dict[int, PlannedStatement] = {}
        for unit in units(migration):
            ran |= self._unit(migration, unit)
        # Its commit would fire what is deferred; a later file must not find it pending.
        if not self._failure:
            constraints = "set constraints all immediate; set constraints all deferred"
            self._attempt_sql(migration, units(migration)[-1], None, constraints)
        return _planned(migration, [ran.get(s.offset) or _unrun(s) for s in migration.statements])

    def _unit(self, migration: Migration, unit: Unit) -> dict[int, PlannedStatement]:
        ran: dict[int, PlannedStatement] = {}
        with self._connection.transaction(force_rollback=unit.how is How.UNDONE):
            for at in range(0, len(unit.statements), _AT_ONCE):
                ran |= self._several(migration, unit, unit.statements[at : at + _AT_ONCE])
        return ran

    def _several(
        self, migration: Migration, unit: Unit, statements: Sequence[Statement]
    ) -> dict[int, PlannedStatement]:
        ran = None if self._closely or self._failure else self._unnoticed(statements)
        if ran is None:
            ran = {statement.offset: self._statement(migration, unit, statement) for statement in statements}
            self._closely = any(planned.locks for planned in ran.values())
        return ran

    def _unnoticed(self, statements: Sequence[Statement]) -> dict[int, PlannedStatement] | None:
        """Run them all; ``None``, and nothing happened, if one failed or took a lock that is of concern."""
        with suppress(Failed, psycopg.Error), self._connection.transaction() as savepoint:
            begun = time.perf_counter()
            send(self._connection, statements, silent, strict=True)
            share = (time.perf_counter() - begun) / len(statements)
            if self._locks() != self._held or self._moved():
                raise psycopg.Rollback(savepoint)
            return {statement.offset: _took(statement, share) for statement in statements}
        return None

    def _statement(self, migration: Migration, unit: Unit, statement: Statement) -> PlannedStatement:
        if self._failure:
            return _unrun(statement)
        begun = time.perf_counter()
        refused = self._attempt(migration, unit, statement)
        note = None
        if isinstance(refused, ONLY_OUTSIDE):
            note = "runs outside a transaction"
            if "concurrently" in statement.words:
                note += ": rehearsed without CONCURRENTLY, which takes ShareUpdateExclusiveLock instead"
                self._attempt_sql(migration, unit, statement, without_word(statement.sql, "concurrently"))
        elif isinstance(refused, pg.UnsafeNewEnumValueUsage):
            note = "uses an enum value of an earlier file: cannot be rehearsed in one transaction with it"
        return replace(_took(statement, begun), locks=self._new_locks(), rewrites=self._rewrites(), note=note)

    def _attempt(self, migration: Migration, unit: Unit, at: Statement) -> psycopg.Error | None:
        """Run within a savepoint; keep the line for what would stop ``up``, return what would not."""
        try:
            with self._connection.transaction():
                send(self._connection, [at], self._notice, strict=True)
        except Failed as failed:
            return self._judged(migration, unit, at, failed.error)
        except psycopg.Error as error:
            return self._judged(migration, unit, at, error)
        return None

    def _attempt_sql(self, migration: Migration, unit: Unit, at: Statement | None, sql: str) -> None:
        try:
            with self._connection.transaction():
                self._connection.execute(sql.encode())
        except psycopg.Error as error:
            self._judged(migration, unit, at, error)

    def _judged(
        self, migration: Migration, unit: Unit, at: Statement | None, error: psycopg.Error
    ) -> psycopg.Error | None:
        outside = isinstance(error, ONLY_OUTSIDE) and not unit.explicit
        if outside or isinstance(error, pg.UnsafeNewEnumValueUsage):
            return error
        self._failure = self._failure or str(failure(migration, at, error, "up would stop here"))
        return None

    def _locks(self) -> set[tuple[int, str]]:
        """Those on relations that others can see; what this transaction makes is nobody's concern."""
        return {(oid, mode) for oid, mode in self._connection.execute(_LOCKS, (self._visible,))}

    def _new_locks(self) -> tuple[Lock, ...]:
        held = self._locks()
        new = [
            Lock(relation.name, mode, _BLOCKS.get(mode, ""))
            for oid, mode in held - self._held
            if (relation := self._relations[oid]).kind not in "iI" or mode not in _OF_NO_CONCERN
        ]
        self._held |= held
        return tuple(sorted(new, key=lambda lock: (lock.relation, lock.mode)))

    def _moved(self) -> dict[int, int]:
        """The relations whose file on disk is another one now: with a lock that keeps writers out."""
        strong = [oid for oid, mode in self._held if mode not in _OF_NO_CONCERN]
        files = self._connection.execute(_FILES, (strong,)) if strong else ()
        return {oid: file for oid, file in files if file != self._relations[oid].file}

    def _rewrites(self) -> tuple[str, ...]:
        moved = self._moved()
        for oid, file in moved.items():
            self._relations[oid] = replace(self._relations[oid], file=file)
        return tuple(sorted(self._relations[oid].name for oid in moved))


def _took(statement: Statement, seconds: float) -> PlannedStatement:
    return PlannedStatement(statement.line, statement.text, milliseconds=round(seconds * 1000, 3))


def _planned(migration: Migration, statements: Sequence[PlannedStatement]) -> PlannedFile:
    steps = units(migration)
    whole = migration.transactional and len(steps) == 1 and steps[0].how is How.TOGETHER
    return PlannedFile(migration.file, migration.version, whole, tuple(statements))


def _unrun(statement: Statement) -> PlannedStatement:
    return PlannedStatement(statement.line, statement.text)

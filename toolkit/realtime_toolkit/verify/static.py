"""Run the static checks: read-only, in one snapshot, changing nothing."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from realtime_toolkit.errors import ConfigError, InputError, StoreError, Unauthorized, Unreachable
from realtime_toolkit.migrate.session import address
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.rows import TupleRow

    from realtime_toolkit.verify.catalogue import StaticCheck

    Connection = psycopg.Connection[TupleRow]

TIMEOUT = "30s"
_TRACKED = """
select coalesce(jsonb_agg(jsonb_build_object(
  'relation', relation::regclass::text, 'kind', kind, 'scope_column', scope_column)), '[]')::text
from realtime_toolkit.tracked
"""


def run_static(
    connection: Connection,
    checks: Sequence[StaticCheck],
    *,
    schemas: Sequence[str] = (),
    expected: Sequence[str] = (),
) -> tuple[CheckResult, ...]:
    """Every check's verdict. ``expected`` are tables that must be published; ``schemas`` none means all."""
    with snapshot(connection):
        settings(connection, schemas, expected)
        missing = _missing(connection)
        return tuple(_unrunnable(check, missing) or _run(connection, check) for check in checks)


def settings(connection: Connection, schemas: Sequence[str] = (), expected: Sequence[str] = ()) -> None:
    """What ``checks/_facts.sql`` reads of us, for the rest of the transaction."""
    set_local(connection, "toolkit.schemas", ",".join(schemas))
    set_local(connection, "toolkit.expected", json.dumps(list(expected)))
    set_local(connection, "toolkit.tracked", _tracked(connection))


@contextmanager
def translated(dsn: str) -> Iterator[None]:
    """Turn what psycopg raises outside a check's own statements into the toolkit's errors."""
    try:
        yield
    except psycopg.Error as error:
        text = " ".join((error.diag.message_primary or str(error)).split())
        if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
            raise Unreachable(f"lost the connection to {address(dsn)}: {text}") from None
        if error.sqlstate == "42501":
            raise Unauthorized(f"{address(dsn)}: {text}") from None
        raise StoreError(f"{address(dsn)}: {text} ({error.sqlstate})") from None


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """A read-only transaction whose names are all spelled out (``search_path = pg_catalog``)."""
    with connection.transaction(force_rollback=True):
        connection.execute("set transaction isolation level repeatable read, read only")
        set_local(connection, "search_path", "pg_catalog")
        set_local(connection, "statement_timeout", TIMEOUT)
        # Deparsed expressions must not depend on the session; these queries gain nothing by JIT.
        set_local(connection, "standard_conforming_strings", "on")
        set_local(connection, "jit", "off")
        yield


def set_local(connection: Connection, name: str, value: str) -> None:
    connection.execute("select pg_catalog.set_config(%s, %s, true)", (name, value))


def server_version(connection: Connection) -> str:
    """Raises :class:`ConfigError` below Postgres 15, whose catalog the checks do not know."""
    if connection.info.server_version < 150000:
        raise ConfigError("verify reads the catalog of Postgres 15 or later")
    return str(connection.info.parameter_status("server_version"))


def _tracked(connection: Connection) -> str:
    """What track_table registered; nothing where the toolkit's schema is not there or may not be read."""
    try:
        with connection.transaction():
            row = connection.execute(_TRACKED).fetchone()
    except (
        psycopg.errors.UndefinedTable,
        psycopg.errors.InvalidSchemaName,
        psycopg.errors.InsufficientPrivilege,
    ):
        return "[]"
    return str(row[0]) if row else "[]"


def _run(connection: Connection, check: StaticCheck) -> CheckResult:
    try:
        with connection.transaction():
            rows = connection.execute(check.sql.encode()).fetchall()
    except psycopg.OperationalError as error:
        if error.sqlstate is None:
            raise
        return _undecided(check, error)
    except psycopg.DatabaseError as error:
        return _undecided(check, error)
    findings = tuple(sorted(map(_finding, rows), key=lambda f: (f.object, f.detail)))
    return CheckResult(check.rule, Outcome.FAIL if findings else Outcome.PASS, findings)


_WHAT_IS_MISSING = """
select array_to_string(array(
         select r from unnest(array['anon', 'authenticated']) r where r not in (select rolname from pg_roles)), ' and '),
       case when exists (
         select from pg_class c join pg_namespace n on n.oid = c.relnamespace
         where n.nspname = 'realtime' and c.relname = 'messages') then '' else 'realtime.messages' end
"""


@dataclass(frozen=True, slots=True)
class _Missing:
    roles: str
    messages: str


def _missing(connection: Connection) -> _Missing:
    row = connection.execute(_WHAT_IS_MISSING).fetchone()
    assert row is not None
    return _Missing(*row)


def _unrunnable(check: StaticCheck, missing: _Missing) -> CheckResult | None:
    """A check that looks for clients' roles or private channels proves nothing where there are none."""
    if missing.roles and "\napi as (" in check.sql:
        reason = f"this is no Supabase database: it has no role {missing.roles}"
        return CheckResult(check.rule, Outcome.UNDECIDED, reason=reason)
    if missing.messages and check.rule.group == "channels" and "messages" in check.sql:
        return CheckResult(check.rule, Outcome.SKIPPED, reason=f"there is no {missing.messages}")
    return None


def require_schemas(connection: Connection, schemas: Sequence[str]) -> None:
    """Raise :class:`InputError` for a schema that is not there: judging nothing would look like a pass."""
    for name in schemas:
        found = connection.execute(
            "select from pg_catalog.pg_namespace where nspname = %s", (name,)
        ).fetchone()
        if found is None:
            raise InputError(f"there is no schema {name!r} in the database")


def _undecided(check: StaticCheck, error: psycopg.Error) -> CheckResult:
    text = error.diag.message_primary or type(error).__name__
    return CheckResult(check.rule, Outcome.UNDECIDED, reason=f"{text} ({error.sqlstate})")


def _finding(row: Any) -> Finding:
    code, level, name, detail, fix, fingerprint = row
    return Finding(code, Level(level), name, detail, fix, f"{code} {fingerprint}")

"""Run the static checks: read-only, in one snapshot, changing nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from realtime_toolkit.shown import shown
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Outcome
from realtime_toolkit.verify.session import settings, snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realtime_toolkit.verify.catalogue import StaticCheck
    from realtime_toolkit.verify.session import Connection


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


def _undecided(check: StaticCheck, error: psycopg.Error) -> CheckResult:
    text = error.diag.message_primary or type(error).__name__
    return CheckResult(check.rule, Outcome.UNDECIDED, reason=shown(f"{text} ({error.sqlstate})"))


def _finding(row: Any) -> Finding:
    code, level, name, detail, fix, fingerprint = row
    return Finding.of(code, Level(level), name, detail, fix, f"{code} {fingerprint}")

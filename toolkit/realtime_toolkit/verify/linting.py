"""Findings of pgrls, where it is installed (extra ``lint``), in the same report."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from realtime_toolkit.verify.model import CheckResult, Finding, Level, Outcome, Rule
from realtime_toolkit.verify.names import parts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

LINT = Rule("LNT001", "lint", "Findings of pgrls, a linter for row level security")
TIMEOUT = 120.0
"""Seconds."""
_LEVELS = {"error": Level.ERROR, "warning": Level.WARNING}


def installed() -> bool:
    return find_spec("pgrls") is not None


def run_pgrls(dsn: str, tables: Collection[str], *, schemas: Sequence[str] = ()) -> CheckResult:
    """Its errors and warnings about these tables, under its own rule ids; its notes are left out.

    pgrls reads ``pgrls.toml`` in the current directory, where rules can be turned off.
    """
    if not installed():
        return CheckResult(
            LINT, Outcome.SKIPPED, reason="needs pgrls: pip install 'supabase-realtime-toolkit[lint]'"
        )
    ours = {".".join(parts(name)): name for name in tables}
    within = schemas or sorted({parts(name)[0] for name in tables}) or ["public"]
    command = [sys.executable, "-m", "pgrls", "lint", "--format", "json", "--schemas", ",".join(within)]
    try:
        # The address goes by the environment: a command line can be read by every user of the machine.
        done = subprocess.run(
            command, env={"DATABASE_URL": dsn}, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        found = json.loads(done.stdout)["violations"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
        return CheckResult(LINT, Outcome.UNDECIDED, reason=f"pgrls gave no report ({type(error).__name__})")
    findings = tuple(_finding(item, table) for item in found if (table := _table(item, ours)))
    return CheckResult(LINT, Outcome.FAIL if findings else Outcome.PASS, findings)


def _table(item: dict[str, Any], ours: Mapping[str, str]) -> str:
    """The user's table that it is about; ``""`` for notes, and for roles that every Supabase project has."""
    where = str(item.get("location", ""))
    about = [raw for raw in ours if where == raw or where.startswith(f"{raw}.")]
    return ours[max(about, key=len)] if about and item.get("severity") in _LEVELS else ""


def _finding(item: dict[str, Any], table: str) -> Finding:
    code = f"pgrls-{item['rule_id']}"
    return Finding.of(
        code,
        _LEVELS[item["severity"]],
        table,
        f"{item['title']}. {item['message']}",
        f"-- pgrls explain {item['rule_id']}",
        f"{code} {item['location']} {item['title']}",
    )

"""Findings of pgrls, where it is installed (extra ``lint``), in the same report."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from realtime_toolkit.verify.model import CheckResult, Finding, Level, Outcome, Rule

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

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
    within = schemas or sorted({name.partition(".")[0] for name in tables}) or ["public"]
    command = [sys.executable, "-m", "pgrls", "lint", "--format", "json", "--schemas", ",".join(within)]
    try:
        # The address goes by the environment: a command line can be read by every user of the machine.
        done = subprocess.run(
            command, env={"DATABASE_URL": dsn}, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
        found = json.loads(done.stdout)["violations"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
        return CheckResult(LINT, Outcome.UNDECIDED, reason=f"pgrls gave no report ({type(error).__name__})")
    findings = tuple(_finding(item) for item in found if _is_ours(item, tables))
    return CheckResult(LINT, Outcome.FAIL if findings else Outcome.PASS, findings)


def _is_ours(item: dict[str, Any], tables: Collection[str]) -> bool:
    """About the user's tables, not about roles that every Supabase project has."""
    name = ".".join(str(item.get("location", "")).split(".")[:2])
    return item.get("severity") in _LEVELS and name in tables


def _finding(item: dict[str, Any]) -> Finding:
    code, where = f"pgrls-{item['rule_id']}", str(item["location"])
    return Finding(
        code,
        _LEVELS[item["severity"]],
        ".".join(where.split(".")[:2]),
        f"{item['title']}. {item['message']}",
        f"-- pgrls explain {item['rule_id']}",
        f"{code} {where} {item['title']}",
    )

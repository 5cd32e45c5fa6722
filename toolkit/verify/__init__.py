"""Who can read, write and receive what: checks of a database as Supabase Realtime will treat it.

``verify(dsn)`` runs the static checks (catalog only, read-only) and returns a :class:`Report`;
:func:`render` writes it as text, json, junit, sarif or github.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.migrate.session import connect, translated
from toolkit.verify.baseline import read_baseline, without_known, write_baseline
from toolkit.verify.catalogue import chosen, static_checks
from toolkit.verify.config import Config, Ownership, load_config
from toolkit.verify.formats import FORMATS, as_dict, render
from toolkit.verify.model import CheckResult, Finding, Level, Outcome, Report, Rule
from toolkit.verify.sources import Sources
from toolkit.verify.static import run_static, server_version

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "FORMATS",
    "CheckResult",
    "Config",
    "Finding",
    "Level",
    "Outcome",
    "Ownership",
    "Report",
    "Rule",
    "as_dict",
    "load_config",
    "read_baseline",
    "render",
    "rules",
    "verify",
    "without_known",
    "write_baseline",
]


def rules() -> tuple[Rule, ...]:
    """Every rule there is, for ``verify --list`` and for the names that ``checks`` may give."""
    return tuple(check.rule for check in static_checks())


def verify(
    dsn: str,
    *,
    checks: Sequence[str] = (),
    schemas: Sequence[str] = (),
    config: Config | None = None,
    migrations: Path | None = None,
    baseline: frozenset[str] = frozenset(),
) -> Report:
    """Judge the database at ``dsn``.

    ``checks`` are codes, beginnings of codes or groups (none: all); ``schemas`` the schemas to judge
    (none: all of the user's own); ``migrations`` a directory in which findings are located; ``baseline``
    the fingerprints of known findings (:func:`read_baseline`).

    Raises :class:`~toolkit.errors.InputError` for an unknown check, :class:`~toolkit.errors.Unreachable`,
    :class:`~toolkit.errors.Unauthorized` or :class:`~toolkit.errors.ConfigError`.
    """
    config = config or Config()
    started = time.monotonic()
    codes = chosen(rules(), checks)
    with closing(connect(dsn)) as connection, translated(dsn):
        version = server_version(connection)
        asked = [check for check in static_checks() if check.rule.code in codes]
        results = run_static(connection, asked, schemas=schemas, expected=config.expected)
    report = Report(version, results, time.monotonic() - started)
    if migrations is not None and migrations.is_dir():
        report = _located(report, Sources.read(migrations, Path.cwd()))
    return without_known(report, baseline)


def _located(report: Report, sources: Sources) -> Report:
    return replace(
        report,
        checks=tuple(
            replace(check, findings=tuple(map(sources.locate, check.findings))) if check.findings else check
            for check in report.checks
        ),
    )

"""Who can read, write and receive what: a database judged as Supabase Realtime will treat it.

    static      verify/checks/*.sql: one query a rule over the catalog, read-only
    dynamic     rows for three people in two tenants, made from the schema itself in a transaction that is always
                rolled back; then tried as each role:
      access      who selects, inserts, updates, deletes whose rows
      delivery    who receives which change with which columns
      channels    who joins and sends on which private topic
    judging     what the matrices mean, unless a static rule has said it already
    snapshot    the matrices as one text, compared with the one in the repository
    leaks       other states of a stranger's rows, and other memberships, until a row shows in another tenant
    tap, items  the same as a pgTAP file, and as pytest items

``verify(dsn)`` returns a :class:`Report`; :func:`render` writes it as text, json, junit, sarif or github.
Nothing in a report is an identity, a key or the content of a row.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from realtime_toolkit.errors import ConfigError
from realtime_toolkit.migrate.session import connect, is_local
from realtime_toolkit.verify.acceptance import acceptances, without_accepted
from realtime_toolkit.verify.baseline import read_baseline, without_known, write_baseline
from realtime_toolkit.verify.bodies import FUN003, run_bodies
from realtime_toolkit.verify.catalogue import chosen, static_checks
from realtime_toolkit.verify.config import Config, Ownership, load_config, served_schemas
from realtime_toolkit.verify.dead import RLS013, dead_conditions
from realtime_toolkit.verify.dynamic import cannot_act, run_matrices, table_names
from realtime_toolkit.verify.formats import FORMATS, as_dict, render
from realtime_toolkit.verify.hearing import RULES as BROADCAST
from realtime_toolkit.verify.hearing import judge_broadcasts
from realtime_toolkit.verify.judging import DYNAMIC, codes_by_table, judge, table_of
from realtime_toolkit.verify.leaks import LEK001, SECONDS, hunt
from realtime_toolkit.verify.linting import LINT, installed, run_pgrls
from realtime_toolkit.verify.matrices import Matrices
from realtime_toolkit.verify.missing import RULES as MISSED
from realtime_toolkit.verify.missing import judge_missed
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Outcome, Report, Rule
from realtime_toolkit.verify.session import require_schemas, require_tables, server_version, translated
from realtime_toolkit.verify.snapshot import SNP001, compare, read_snapshot, snapshot_text, write_snapshot
from realtime_toolkit.verify.sources import Sources
from realtime_toolkit.verify.static import run_static
from realtime_toolkit.verify.tap import pgtap_script
from realtime_toolkit.verify.trusting import RULES as KEEPING
from realtime_toolkit.verify.trusting import judge_keeping

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "FORMATS",
    "CheckResult",
    "Config",
    "Finding",
    "Level",
    "Matrices",
    "Outcome",
    "Ownership",
    "Report",
    "Rule",
    "as_dict",
    "load_config",
    "pgtap",
    "read_baseline",
    "render",
    "rules",
    "snapshot_text",
    "verify",
    "without_known",
    "write_baseline",
    "write_snapshot",
]


def rules() -> tuple[Rule, ...]:
    """Every rule there is: what ``checks`` may name by code, beginning of a code, or group."""
    return (
        *(check.rule for check in static_checks()),
        FUN003,
        RLS013,
        *DYNAMIC,
        *BROADCAST,
        *MISSED,
        *KEEPING,
        SNP001,
        LEK001,
        LINT,
    )


def verify(
    dsn: str,
    *,
    checks: Sequence[str] = (),
    schemas: Sequence[str] = (),
    config: Config | None = None,
    migrations: Path | None = None,
    baseline: frozenset[str] = frozenset(),
    allow_writes: bool = False,
    snapshot: Path | None = None,
    leaks: float = SECONDS,
) -> Report:
    """Judge the database at ``dsn``.

    ``checks`` are codes, beginnings of codes or groups (none: all); ``schemas`` the schemas to judge
    (none: all of the user's own); ``migrations`` a directory in which findings are located; ``baseline``
    the fingerprints of known findings (:func:`read_baseline`); ``snapshot`` the file that the matrices are
    compared with, where it is there; ``leaks`` the seconds in which leaks are hunted (0: not at all). The dynamic checks write rows in a transaction that is rolled back:
    elsewhere than on this machine only with ``allow_writes``, and there the numbers that sequences gave stay taken.

    Raises :class:`~realtime_toolkit.errors.InputError` for an unknown check or schema,
    :class:`~realtime_toolkit.errors.Unreachable`, :class:`~realtime_toolkit.errors.Unauthorized`,
    :class:`~realtime_toolkit.errors.ConfigError`, or :class:`~realtime_toolkit.errors.StoreError` for what a check cannot catch.
    """
    config = config or Config()
    started = time.monotonic()
    codes = chosen(rules(), checks)
    stored = read_snapshot(snapshot) if snapshot is not None else None
    accepted = acceptances(config, stored, {rule.code for rule in rules()})
    if migrations is not None:
        config = replace(config, exposed=served_schemas(migrations.parent / "config.toml"))
    matrices: Matrices | None = None
    with closing(connect(dsn)) as connection, translated(dsn):
        version = server_version(connection)
        require_schemas(connection, schemas)
        require_tables(connection, config.expected)
        # The dynamic checks leave out what a static one has said, so all of those run; shown is what was asked.
        results = run_static(connection, static_checks(), schemas=schemas, expected=config.expected)
        results += (run_bodies(connection, schemas=schemas),)
        if RLS013.code in codes or codes & _DYNAMIC_CODES:
            static = [finding for result in results for finding in result.findings]
            results += (dead_conditions(connection, static, schemas=schemas),)
        if codes & _DYNAMIC_CODES:
            refused = _refusal(dsn, allow_writes) or cannot_act(connection)
            found = [finding for result in results for finding in result.findings]
            if not refused:
                matrices = run_matrices(connection, config, schemas=schemas, alone=is_local(dsn))
            if matrices:
                judged = judge(matrices, found)
                found += [finding for result in judged for finding in result.findings]
                results += judged + judge_broadcasts(
                    matrices.broadcasts, matrices.channels, matrices.channel_policies, found, matrices.unheard
                )
                results += judge_missed(matrices, found)
                results += judge_keeping(matrices.keeping, codes_by_table(found, matrices.tables))
            else:
                results += tuple(
                    _skipped(rule, refused) for rule in (*DYNAMIC, *BROADCAST, *MISSED, *KEEPING)
                )
            results += _compared(matrices, snapshot, refused)
            if LEK001.code in codes and (leaks > 0 or checks):
                tables = matrices.tables if matrices else {}
                told = {table_of(f.object, tables) for f in found if f.code in codes & _OPEN}
                results += (
                    _skipped(LEK001, refused or "--leaks 0")
                    if refused or leaks <= 0
                    else hunt(
                        connection, config, schemas=schemas, seconds=leaks, alone=is_local(dsn),
                        told=told, designs=bool(checks),
                    ),
                )  # fmt: skip
        if LINT.code in codes and (checks or installed()):
            results += (run_pgrls(dsn, table_names(connection, schemas), schemas=schemas),)
    shown = tuple(result for result in results if result.rule.code in codes)
    report = Report(version, shown, time.monotonic() - started, matrices)
    if migrations is not None and migrations.is_dir():
        report = _located(report, Sources.read(migrations, Path.cwd()))
    return without_accepted(without_known(report, baseline), accepted)


_OPEN = frozenset({"ACC001", "ACC002", "RLS001", "RLS010", "RLS011", "RLS012", "PUB010"})
"""What tells of a table that strangers reach its rows: the leak hunt need not."""
_DYNAMIC_CODES = frozenset(rule.code for rule in (*DYNAMIC, *BROADCAST, *MISSED, *KEEPING, SNP001, LEK001))


def pgtap(
    dsn: str, *, schemas: Sequence[str] = (), config: Config | None = None, allow_writes: bool = False
) -> str:
    """The access matrix as a pgTAP test file. Raises as :func:`verify` does, and ConfigError where it may not write."""
    with closing(connect(dsn)) as connection, translated(dsn):
        refused = _refusal(dsn, allow_writes) or cannot_act(connection)
        if refused:
            raise ConfigError(refused)
        return pgtap_script(connection, config or Config(), schemas=schemas, alone=is_local(dsn))


def _refusal(dsn: str, allow_writes: bool) -> str:
    if allow_writes or is_local(dsn):
        return ""
    return "writes rows (and rolls back): give --allow-writes for a database that is not on this machine"


def _skipped(rule: Rule, reason: str) -> CheckResult:
    return CheckResult(rule, Outcome.SKIPPED, reason=reason)


def _compared(matrices: Matrices | None, path: Path | None, refused: str) -> tuple[CheckResult, ...]:
    """The verdict on the snapshot; none where nobody keeps one."""
    stored = read_snapshot(path) if path is not None else None
    if path is None or stored is None:
        return ()
    return (compare(stored, matrices, path) if matrices else _skipped(SNP001, refused),)


def _located(report: Report, sources: Sources) -> Report:
    return replace(
        report,
        checks=tuple(
            replace(check, findings=tuple(map(sources.locate, check.findings))) if check.findings else check
            for check in report.checks
        ),
    )

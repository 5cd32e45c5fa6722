"""A file of findings that are known and accepted: one fingerprint a line, ``#`` begins a comment.

A fingerprint is one line and neither begins nor ends with a blank (:meth:`Finding.of`), so editors may trim.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from realtime_toolkit.errors import ConfigError
from realtime_toolkit.verify.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from realtime_toolkit.verify.model import CheckResult, Finding, Report

_HEAD = """\
# Findings of `realtime-toolkit verify` that are known and accepted, one a line.
# Delete a line to have it reported again.
"""


def read_baseline(path: Path) -> frozenset[str]:
    """The fingerprints in a baseline file; none if there is no such file. Raises :class:`ConfigError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return frozenset()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the baseline {path}: {error}") from None
    lines = (line.strip() for line in text.splitlines())
    return frozenset(line for line in lines if line and not line.startswith("#"))


def write_baseline(path: Path, report: Report) -> int:
    """Make the file say exactly what this report found; returns how many. Raises :class:`ConfigError`."""
    found = sorted({finding.fingerprint for finding in (*report.findings, *report.known)})
    try:
        path.write_text(_HEAD + "".join(f"{line}\n" for line in found), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write the baseline {path}: {error}") from None
    return len(found)


def without_known(report: Report, known: frozenset[str]) -> Report:
    """The same report with the findings of the baseline set apart; a check left with none passes."""

    def is_known(finding: Finding) -> bool:
        return finding.fingerprint in known

    return replace(report, checks=tuple(set_apart(check, is_known) for check in report.checks))


def set_apart(check: CheckResult, is_known: Callable[[Finding], bool]) -> CheckResult:
    """Without a finding left it passes, or is undecided, where a part of it was."""
    new = tuple(finding for finding in check.findings if not is_known(finding))
    old = tuple(finding for finding in check.findings if is_known(finding))
    outcome = check.outcome
    if outcome is Outcome.FAIL and not new:
        outcome = Outcome.UNDECIDED if check.reason else Outcome.PASS
    return replace(check, outcome=outcome, findings=new, known=(*check.known, *old))

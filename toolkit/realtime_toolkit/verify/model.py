"""What verify finds, as values: findings, verdicts, a report. No I/O, no clock."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from realtime_toolkit.migrate.sqlsplit import printable
from realtime_toolkit.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from realtime_toolkit.verify.matrices import Matrices


class Level(StrEnum):
    ERROR = "error"
    WARNING = "warning"


class Outcome(StrEnum):
    """What a check came to. ``UNDECIDED`` and ``SKIPPED`` are never a pass: they fail under ``--strict``."""

    PASS = "PASS"
    FAIL = "FAIL"
    UNDECIDED = "UNDECIDED"
    """It ran into something that keeps it from telling, an error of the database for example."""
    SKIPPED = "SKIPPED"
    """It was not run: not allowed, or a part it needs is not installed."""


_NO_PARTITION = (
    "realtime.messages has no partition for today, so realtime.send only warns until the Realtime server has made one; "
    "the probes made theirs"
)
_EDGE = re.compile(r"^ | $")


@dataclass(frozen=True, slots=True)
class Finding:
    """One flaw. Names of the catalog only: never an identity, a key or the content of a row.

    Whatever the names hold, each text is one line that no terminal and no format acts on, and ``fix`` is still SQL.
    """

    code: str
    level: Level
    object: str
    """Schema-qualified: ``public.notes``, ``public.notes.owner``, ``policy "read" on public.notes``."""
    detail: str
    fix: str
    """SQL that mends it; ``/* … */`` where only the author can know, a remark from ``--`` to the end."""
    fingerprint: str
    """The same for the same flaw in every run, for ``--baseline`` and SARIF; begins and ends with no blank."""
    file: str | None = None
    """Migration that last touched the object."""
    line: int | None = None
    script: str = ""
    """Statements that show it, one a line; few checks have them."""

    @classmethod
    def of(
        cls,
        code: str,
        level: Level,
        object: str,
        detail: str,
        fix: str,
        fingerprint: str,
        *,
        script: str = "",
    ) -> Finding:
        """Made from texts that hold names as the catalog has them: every check makes its findings here."""
        once = _EDGE.sub(r"\\x20", shown(fingerprint))
        return cls(code, level, shown(object), shown(detail), printable(fix), once, script=script)


@dataclass(frozen=True, slots=True)
class Rule:
    """A check: its code, a title, and why it matters."""

    code: str
    group: str
    title: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    rule: Rule
    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    """Those that the baseline does not know."""
    known: tuple[Finding, ...] = ()
    """Those that it does: reported apart, and no failure."""
    reason: str = ""
    """Why undecided or skipped; one line, as in a finding."""

    @classmethod
    def of(cls, rule: Rule, findings: Iterable[Finding], undecided: str = "") -> CheckResult:
        """What was tried came to these; ``undecided`` says what could not be tried, and then nothing is no pass."""
        found = tuple(findings)
        outcome = Outcome.FAIL if found else Outcome.UNDECIDED if undecided else Outcome.PASS
        return cls(rule, outcome, found, reason=undecided)


@dataclass(frozen=True, slots=True)
class Bar:
    """What a report must come up to."""

    strict: bool = False
    """What was undecided or skipped fails, too."""
    fail_on: Level = Level.WARNING
    """The least level of a finding that fails."""

    def fails(self, check: CheckResult) -> bool:
        if check.outcome is Outcome.FAIL:
            return any(f.level is Level.ERROR or self.fail_on is Level.WARNING for f in check.findings)
        return self.strict and check.outcome is not Outcome.PASS


@dataclass(frozen=True, slots=True)
class Report:
    server_version: str
    checks: tuple[CheckResult, ...]
    seconds: float
    matrices: Matrices | None = None
    """Where the dynamic checks ran."""
    told: tuple[str, ...] = ()
    """Notes besides those on the matrices."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for check in self.checks for finding in check.findings)

    @property
    def known(self) -> tuple[Finding, ...]:
        return tuple(finding for check in self.checks for finding in check.known)

    @property
    def notes(self) -> tuple[str, ...]:
        """What else is to be known: no finding, a line each."""
        moving = shown(", ".join(self.matrices.moving)) if self.matrices else ""
        told = "the numbers that the probes took of these sequences stay taken, others being at work on the database"
        notes = [f"{told}: {moving}"] if moving else []
        if self.matrices and self.matrices.partition and not self.matrices.partition.refused:
            notes.append(_NO_PARTITION)
        return (*notes, *map(shown, self.told))

    def of(self, outcome: Outcome) -> tuple[CheckResult, ...]:
        return tuple(check for check in self.checks if check.outcome is outcome)

    def ok(self, *, strict: bool = False, fail_on: Level = Level.WARNING) -> bool:
        """No finding of level ``fail_on`` or worse; with ``strict`` also nothing undecided or skipped."""
        bar = Bar(strict, fail_on)
        return not any(bar.fails(check) for check in self.checks)

    def exit_code(self, *, strict: bool = False, fail_on: Level = Level.WARNING) -> int:
        return 0 if self.ok(strict=strict, fail_on=fail_on) else 1

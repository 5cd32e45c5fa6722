"""Test items that nobody wrote, for ``pytest --supabase-verify``: one a table and check, and one a server check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from realtime_toolkit.shown import shown
from realtime_toolkit.verify.formats import render_finding
from realtime_toolkit.verify.judging import table_of
from realtime_toolkit.verify.model import CheckResult, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_toolkit.verify.model import Finding, Report

_OF_TABLES = ("PUB", "RLS", "UPD", "TRK", "ACC", "DLV", "COL", "WAL")
_OF_THE_PUBLICATION = ("PUB001", "PUB002", "PUB003")


class FlawFoundError(Exception):
    """What a check found; shown without a traceback, for there is no code to look at."""


class VerifyItem(pytest.Item):
    def __init__(self, *, result: CheckResult, findings: tuple[Finding, ...], **rest: Any) -> None:
        super().__init__(**rest)
        self._result = result
        self._findings = findings

    def runtest(self) -> None:
        if self._findings:
            raise FlawFoundError("\n".join(map(render_finding, self._findings)))
        if self._result.outcome in (Outcome.UNDECIDED, Outcome.SKIPPED):
            pytest.skip(f"{self._result.outcome}: {self._result.reason}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, FlawFoundError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, int | None, str]:
        # Not the end of the node id, whose dots pytest would take for those of a module.
        return "supabase-verify", None, self.name.replace("::", " ")


def verify_items(session: pytest.Session, report: Report) -> Iterator[VerifyItem]:
    """Tables × checks first, then what is about no table: the server, the publication, channels."""
    tables = sorted(report.matrices.tables) if report.matrices else []
    for table in tables:
        for result in report.checks:
            if _is_of_tables(result):
                findings = tuple(f for f in result.findings if table_of(f.object, tables) == table)
                yield _item(session, f"{shown(table)}::{result.rule.code}", result, findings)
    for result in report.checks:
        findings = tuple(f for f in result.findings if table_of(f.object, tables) not in tables)
        if findings or not _is_of_tables(result):
            yield _item(session, f"database::{result.rule.code}", result, findings)


def _is_of_tables(result: CheckResult) -> bool:
    return result.rule.code.startswith(_OF_TABLES) and result.rule.code not in _OF_THE_PUBLICATION


def _item(
    session: pytest.Session, name: str, result: CheckResult, findings: tuple[Finding, ...]
) -> VerifyItem:
    made = VerifyItem.from_parent(
        session, name=name, nodeid=f"supabase-verify::{name}", result=result, findings=findings
    )
    assert isinstance(made, VerifyItem)
    return made

"""A report as text for people, and as JSON, JUnit, SARIF and GitHub annotations for machines. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from realtime_toolkit.errors import InputError
from realtime_toolkit.shown import shown_json
from realtime_toolkit.verify.model import Bar, Level, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_toolkit.verify.model import CheckResult, Finding, Report

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def render(
    report: Report, form: str = "text", *, strict: bool = False, fail_on: Level = Level.WARNING
) -> str:
    """The report in one of :data:`FORMATS`, ending in a newline. Raises :class:`InputError` for another."""
    try:
        writer = FORMATS[form]
    except KeyError:
        raise InputError(f"no report format is called {form!r} (one of: {', '.join(FORMATS)})") from None
    return writer(report, Bar(strict, fail_on)).rstrip("\n") + "\n"


# -- text ---------------------------------------------------------------------------------------------


def _text(report: Report, bar: Bar) -> str:
    blocks = [render_finding(finding) for finding in report.findings]
    for outcome in (Outcome.UNDECIDED, Outcome.SKIPPED):
        blocks += [f"{outcome} {c.rule.code} {c.rule.title}: {c.reason}" for c in report.of(outcome)]
    blocks += [f"note: {note}" for note in report.notes]
    return "\n".join([*blocks, _summary(report, bar)])


def render_finding(finding: Finding) -> str:
    """One finding for people, in three lines, and what shows it."""
    where = f" ({finding.file}:{finding.line})" if finding.file else ""
    head = f"{finding.code} {finding.level} {finding.object}{where}"
    return f"{head}\n  {_told(finding)}\n  mend: {finding.fix}\n"


def _told(finding: Finding) -> str:
    return f"{finding.detail} To see it run:\n{finding.script}" if finding.script else finding.detail


def _summary(report: Report, bar: Bar) -> str:
    counts = [f"{len(report.of(outcome))} {outcome}" for outcome in Outcome if report.of(outcome)]
    known = f", {len(report.known)} known to the baseline" if report.known else ""
    verdict = "ok" if report.ok(strict=bar.strict, fail_on=bar.fail_on) else "not ok"
    found = f"{len(report.findings)} finding{'' if len(report.findings) == 1 else 's'}"
    return f"{verdict}: {found}{known}; checks: {', '.join(counts)}; {report.seconds:.1f} s"


# -- JSON ---------------------------------------------------------------------------------------------


def as_dict(report: Report, *, strict: bool = False, fail_on: Level = Level.WARNING) -> dict[str, Any]:
    """``{ok, server_version, seconds, findings, known, notes, checks: [{code, group, title, outcome, …}]}``."""
    return {
        "ok": report.ok(strict=strict, fail_on=fail_on),
        "server_version": report.server_version,
        "seconds": round(report.seconds, 3),
        "findings": [asdict(finding) for finding in report.findings],
        "known": [asdict(finding) for finding in report.known],
        "notes": list(report.notes),
        "checks": [_check(check) for check in report.checks],
    }


def _check(check: CheckResult) -> dict[str, Any]:
    return {
        "code": check.rule.code,
        "group": check.rule.group,
        "title": check.rule.title,
        "outcome": check.outcome.value,
        "findings": len(check.findings),
        "known": len(check.known),
        "reason": check.reason,
    }


def _json(report: Report, bar: Bar) -> str:
    return shown_json(
        json.dumps(as_dict(report, strict=bar.strict, fail_on=bar.fail_on), ensure_ascii=False, indent=2)
    )


# -- JUnit --------------------------------------------------------------------------------------------


def _junit(report: Report, bar: Bar) -> str:
    """One test case a check. Undecided and skipped ones are ``skipped``; under ``--strict`` failures.

    Findings that do not fail are told all the same, as the case's output.
    """
    suite = ElementTree.Element("testsuite", name="realtime-toolkit verify", time=f"{report.seconds:.3f}")
    failures = skipped = 0
    for check in report.checks:
        case = ElementTree.SubElement(
            suite, "testcase", classname=check.rule.group, name=f"{check.rule.code} {check.rule.title}"
        )
        if bar.fails(check):
            failures += 1
            failure = ElementTree.SubElement(
                case, "failure", message=check.reason or f"{len(check.findings)} findings"
            )
            failure.text = "\n".join(map(render_finding, check.findings))
        elif check.outcome is Outcome.FAIL:
            told = ElementTree.SubElement(case, "system-out")
            told.text = "\n".join(map(render_finding, check.findings))
        elif check.outcome is not Outcome.PASS:
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=f"{check.outcome}: {check.reason}")
    suite.attrib.update(
        tests=str(len(report.checks)), failures=str(failures), skipped=str(skipped), errors="0"
    )
    if report.notes:
        ElementTree.SubElement(suite, "system-out").text = "\n".join(report.notes)
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode")


# -- SARIF --------------------------------------------------------------------------------------------


def _sarif(report: Report, bar: Bar) -> str:
    run = {
        "tool": {
            "driver": {
                "name": "realtime-toolkit verify",
                "rules": [_sarif_rule(check) for check in report.checks],
            }
        },
        "results": [_sarif_result(finding) for finding in report.findings]
        + [_sarif_result(finding, known=True) for finding in report.known],
        "invocations": [
            {
                "executionSuccessful": not report.of(Outcome.UNDECIDED),
                "toolExecutionNotifications": [
                    *(
                        {
                            "level": "error" if bar.strict else "note",
                            "message": {"text": f"{check.rule.code} {check.outcome}: {check.reason}"},
                        }
                        for outcome in (Outcome.UNDECIDED, Outcome.SKIPPED)
                        for check in report.of(outcome)
                    ),
                    *({"level": "note", "message": {"text": note}} for note in report.notes),
                ],
            }
        ],
    }
    log = {"$schema": SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}
    return shown_json(json.dumps(log, ensure_ascii=False, indent=2))


def _sarif_rule(check: CheckResult) -> dict[str, Any]:
    rule: dict[str, Any] = {
        "id": check.rule.code,
        "shortDescription": {"text": check.rule.title},
        "properties": {"group": check.rule.group},
    }
    if check.rule.why:
        rule["fullDescription"] = {"text": check.rule.why}
    return rule


def _sarif_result(finding: Finding, *, known: bool = False) -> dict[str, Any]:
    location: dict[str, Any] = {"logicalLocations": [{"fullyQualifiedName": finding.object}]}
    if finding.file is not None:
        location["physicalLocation"] = {
            "artifactLocation": {"uri": finding.file},
            "region": {"startLine": finding.line or 1},
        }
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "level": finding.level.value,
        "message": {"text": f"{_told(finding)}\nMend: {finding.fix}"},
        "locations": [location],
        "partialFingerprints": {"realtimeToolkit/v1": finding.fingerprint},
    }
    if known:
        result["baselineState"] = "unchanged"
        result["suppressions"] = [{"kind": "external", "justification": "in the baseline file"}]
    return result


# -- GitHub -------------------------------------------------------------------------------------------


def _github(report: Report, bar: Bar) -> str:
    """Workflow commands, which GitHub shows beside the migration's line, and a summary line."""
    lines = [_annotation(finding) for finding in report.findings]
    for outcome in (Outcome.UNDECIDED, Outcome.SKIPPED):
        level = "error" if bar.strict else "notice"
        lines += [f"::{level} title={c.rule.code} {outcome}::{_data(c.reason)}" for c in report.of(outcome)]
    lines += [f"::notice title=verify::{_data(note)}" for note in report.notes]
    return "\n".join([*lines, _summary(report, bar)])


def _annotation(finding: Finding) -> str:
    level = "error" if finding.level is Level.ERROR else "warning"
    place = f"file={_property(finding.file)},line={finding.line or 1}," if finding.file else ""
    title = _property(f"{finding.code} {finding.object}")
    message = _data(f"{_told(finding)}\nMend: {finding.fix}")
    return f"::{level} {place}title={title}::{message}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


FORMATS: dict[str, Callable[[Report, Bar], str]] = {
    "text": _text,
    "json": _json,
    "junit": _junit,
    "sarif": _sarif,
    "github": _github,
}

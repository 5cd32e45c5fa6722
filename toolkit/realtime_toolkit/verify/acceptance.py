"""Findings that are meant, accepted by name: in ``supabase/verify.toml``, or by a line of the snapshot. Pure.

[accept]                                       # verify.toml
"public.tickets" = ["ACC001"]

# accept ACC001 public.tickets                 in the snapshot, which keeps such lines
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from realtime_toolkit.errors import ConfigError
from realtime_toolkit.verify.baseline import set_apart
from realtime_toolkit.verify.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection

    from realtime_toolkit.verify.config import Config
    from realtime_toolkit.verify.model import Finding, Report

Accepted = frozenset[tuple[str, str]]
"""``(code, object)``, the object as findings write it."""
ACCEPT_LINE = re.compile(r"# accept (?P<code>[A-Z]{3}[0-9]{3}) (?P<object>\S.*?)\s*")


def acceptances(config: Config, snapshot: str | None, codes: Collection[str]) -> Accepted:
    """All of them. Raises :class:`ConfigError` for a code that no check has."""
    told = {(code, name) for name, those in config.accepted.items() for code in those}
    lines = map(ACCEPT_LINE.fullmatch, (snapshot or "").splitlines())
    told |= {(line["code"], line["object"]) for line in lines if line is not None}
    for code, name in sorted(told):
        if code not in codes:
            raise ConfigError(f"{code} is accepted on {name}, but no check is called so")
    return frozenset(told)


def without_accepted(report: Report, accepted: Accepted) -> Report:
    """The same report with what is accepted set apart; what an acceptance no longer meets is said in a note."""

    def is_accepted(finding: Finding) -> bool:
        return (finding.code, finding.object) in accepted

    met = {(f.code, f.object) for f in report.findings}
    ran = {c.rule.code for c in report.checks if c.outcome in (Outcome.PASS, Outcome.FAIL)}
    idle = sorted((code, name) for code, name in accepted - met if code in ran)
    notes = tuple(f"{code} is accepted on {name}, and there is no such finding" for code, name in idle)
    checks = tuple(set_apart(check, is_accepted) for check in report.checks)
    return replace(report, checks=checks, told=(*report.told, *notes))

"""The static checks: one SQL file each in ``toolkit/checks``, read and made runnable. No database here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from toolkit.errors import InputError
from toolkit.verify.model import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

DIRECTORY = Path(__file__).resolve().parent.parent / "checks"
GROUPS = {
    "PUB": "publication",
    "RLS": "rls",
    "MSG": "channels",
    "UPD": "updated_at",
    "TRK": "tracking",
    "SRV": "server",
}
_HEADER = re.compile(r"-- (?P<code>[A-Z]{3}\d{3}): (?P<title>.+)\n(?P<why>(?:--.*\n)*)")
_WITH = re.compile(r"\s*with\s+(?:recursive\s+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StaticCheck:
    """A rule that one query of the catalog decides; the query yields the six columns of a finding."""

    rule: Rule
    sql: str


@cache
def facts() -> str:
    """The relations that every check, and the model of the dynamic checks, stand on."""
    return (DIRECTORY / "_facts.sql").read_text(encoding="utf-8")


@cache
def static_checks() -> tuple[StaticCheck, ...]:
    """All of them, in the order publication, RLS, channels, updated_at, tracking, server."""
    checks = [_read(path, facts()) for path in DIRECTORY.glob("[A-Z]*.sql")]
    order = list(GROUPS)
    return tuple(sorted(checks, key=lambda check: (order.index(check.rule.code[:3]), check.rule.code)))


def _read(path: Path, facts: str) -> StaticCheck:
    text = path.read_text(encoding="utf-8")
    header = _HEADER.match(text)
    assert header is not None, f"{path.name} does not begin with its code and title"
    assert header["code"] == path.stem, f"{path.name} calls itself {header['code']}"
    body = text[header.end() :]
    why = " ".join(line.removeprefix("--").strip() for line in header["why"].splitlines()).strip()
    return StaticCheck(Rule(path.stem, GROUPS[path.stem[:3]], header["title"], why), _compose(facts, body))


def _compose(facts: str, body: str) -> str:
    """One statement: the facts' relations, those of the check itself, and its query."""
    own = _WITH.match(body)
    return f"{facts},\n{body[own.end() :]}" if own else f"{facts}\n{body}"


def chosen(rules: Iterable[Rule], names: Iterable[str]) -> frozenset[str]:
    """The codes that ``names`` ask for: codes, prefixes of codes, or groups, in any case.

    No name means all. Raises :class:`InputError` for a name that fits none.
    """
    known, wanted = tuple(rules), tuple(names)
    if not wanted:
        return frozenset(rule.code for rule in known)
    found: set[str] = set()
    for name in wanted:
        fitting = {r.code for r in known if r.code.startswith(name.upper()) or r.group == name.lower()}
        if not fitting:
            groups = ", ".join(dict.fromkeys(rule.group for rule in known))
            raise InputError(
                f"no check is called {name!r} (give a code, the beginning of one, or one of: {groups})"
            )
        found |= fitting
    return frozenset(found)

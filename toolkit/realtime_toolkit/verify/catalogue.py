"""The static checks: one SQL file each in ``verify/checks``, read and made runnable. No database here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from realtime_toolkit.errors import InputError
from realtime_toolkit.verify.model import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable

DIRECTORY = Path(__file__).resolve().parent / "checks"
GROUPS = {
    "PUB": "publication",
    "RLS": "rls",
    "MSG": "channels",
    "UPD": "updated_at",
    "TRK": "tracking",
    "FUN": "functions",
    "ROL": "roles",
    "COL": "columns",
    "WAL": "walls",
    "SRV": "server",
}
_HEADER = re.compile(r"-- (?P<code>[A-Z]{3}\d{3}): (?P<title>.+)\n(?P<why>(?:--.*\n)*)")
_RELATION = re.compile(r"^(?P<name>[a-z_]+) as (?:materialized )?\(", re.MULTILINE)
_WORD = re.compile(r"[a-z_]+")
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
    """All of them, in the order of ``GROUPS``."""
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
    """One statement: those of the facts' relations that it needs, its own, and its query."""
    own = _WITH.match(body)
    rest = body[own.end() :] if own else body
    relations = _needed(_relations(facts), rest)
    if not relations and not own:
        return body
    shared = ",\n".join(relations)
    return "with recursive\n" + (f"{shared},\n{rest}" if relations and own else f"{shared}\n{rest}")


def _relations(facts: str) -> dict[str, str]:
    """Name → definition, in order; each begins at the left edge as ``name as (``."""
    starts = list(_RELATION.finditer(facts))
    ends = [match.start() for match in starts[1:]] + [len(facts)]
    found = {}
    for match, end in zip(starts, ends, strict=True):
        lines = facts[match.start() : end].rstrip().splitlines()
        while lines[-1].startswith("--"):  # the next one's comment
            lines.pop()
        found[match["name"]] = "\n".join(lines).rstrip().removesuffix(",")
    return found


def _needed(relations: dict[str, str], text: str) -> list[str]:
    """Planning what is not asked for costs more than the checks themselves."""
    wanted: set[str] = set()
    texts = [text]
    while texts:
        words = set(_WORD.findall(texts.pop()))
        for name in (relations.keys() & words) - wanted:
            wanted.add(name)
            texts.append(relations[name])
    return [definition for name, definition in relations.items() if name in wanted]


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

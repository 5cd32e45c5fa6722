"""Which migration last touched an object: file and line, from the text of the migrations."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from realtime_toolkit.migrate.sqlsplit import significant, split
from realtime_toolkit.shown import shown
from realtime_toolkit.verify.names import NAME, parts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from realtime_toolkit.migrate.sqlsplit import Statement
    from realtime_toolkit.verify.model import Finding

_QUALIFIED = rf"{NAME}(?: \. {NAME})?"
_IF = r"(?:if (?:not )?exists )?(?:only )?"
_DEFINES = (
    rf"(?:create|alter|drop) (?:(?:temp|temporary|unlogged|foreign) )?table {_IF}(?P<t1>{_QUALIFIED})",
    rf"create (?:unique )?index (?:concurrently )?{_IF}(?:(?P<index>(?!on ){NAME}) )?"
    rf"on (?:only )?(?P<t2>{_QUALIFIED})",
    rf"(?:create|alter|drop) policy {_IF}(?P<policy>{NAME}) on (?P<t3>{_QUALIFIED})",
    rf"create (?:or replace )?(?:constraint )?trigger (?P<trigger>{NAME}) .*? on (?P<t4>{_QUALIFIED})",
    rf"drop trigger {_IF}(?P<trigger2>{NAME}) on (?P<t5>{_QUALIFIED})",
    rf"(?:create|alter|drop) (?:or replace )?(?:materialized )?view {_IF}(?P<t6>{_QUALIFIED})",
    rf"(?:create|alter|drop) (?:or replace )?(?:function|procedure) {_IF}(?P<t7>{_QUALIFIED})",
)
_DEFINITION = re.compile("|".join(_DEFINES), re.IGNORECASE | re.DOTALL)
_MANY = re.compile(
    r"(?:grant|revoke|alter publication|create publication|do|select .*track_table)\b", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Touch:
    """A statement that defines or changes something: names without schema ``public``, as findings show them."""

    file: str
    line: int
    names: frozenset[str]
    text: str
    """For statements that may name several objects; empty for those that define one."""


class Sources:
    """The migrations of a directory, in order, asked for the last touch of an object."""

    def __init__(self, touches: tuple[Touch, ...]) -> None:
        self._touches = touches

    @classmethod
    def read(cls, directory: Path, relative_to: Path | None = None) -> Sources:
        """Files that cannot be read or split are passed over: locations are a help, not a verdict."""
        return cls(tuple(_touches(directory, relative_to)))

    def locate(self, finding: Finding) -> Finding:
        """The finding with the place where its object was last touched; as it was if it has a place."""
        if finding.file is not None:
            return finding
        for names in _candidates(finding.object):
            mentions = [_mention(name) for name in names]
            for touch in reversed(self._touches):
                if names <= touch.names or (touch.text and all(m.search(touch.text) for m in mentions)):
                    return replace(finding, file=touch.file, line=touch.line)
        return finding


def _touches(directory: Path, relative_to: Path | None) -> Iterator[Touch]:
    for path in sorted(directory.glob("*.sql")):
        try:
            statements = split(path.read_bytes().decode("utf-8-sig"))
        except (OSError, UnicodeDecodeError):
            continue
        name = path.as_posix()
        if relative_to is not None and path.is_relative_to(relative_to):
            name = path.relative_to(relative_to).as_posix()
        for statement in statements:
            touch = _touch(shown(name), statement)
            if touch is not None:
                yield touch


def _touch(file: str, statement: Statement) -> Touch | None:
    text = significant(statement.text)
    definition = _DEFINITION.match(text)
    if definition is not None:
        names = frozenset(_plain(shown(name)) for name in definition.groupdict().values() if name)
        return Touch(file, statement.line, names, "")
    if _MANY.match(text):
        return Touch(file, statement.line, frozenset(), shown(text))
    return None


_PART = re.compile(rf"{NAME}(?:\.{NAME})*", re.IGNORECASE)


def _candidates(name: str) -> Iterator[frozenset[str]]:
    """What to look for, the most exact first: the policy, trigger or index with its table, then the table."""
    kind, *_ = name.split(" ", 1)
    if kind in ("policy", "trigger"):
        match = re.fullmatch(rf"{kind} ({NAME}) on ({NAME}\.{NAME})", name, re.IGNORECASE)
        if match:
            yield frozenset({_plain(match[1]), _plain(match[2])})
            yield frozenset({_plain(match[2])})
        return
    if kind == "function":
        match = re.match(rf"function ({NAME}\.{NAME})\(", name, re.IGNORECASE)
        if match:
            yield frozenset({_plain(match[1])})
        return
    if kind == "publication":
        yield frozenset({name.split(" ", 1)[1]})
        return
    found = re.findall(NAME, name) if _PART.fullmatch(name) else []
    if len(found) >= 2:
        yield frozenset({_plain(".".join(found[:2]))})
        yield frozenset({_plain(found[1])})  # an index is named without its schema


def _plain(name: str) -> str:
    """``public . "notes"`` → ``notes``; ``app."Notes"`` as it is: without ``public``, quoted where it has to be."""
    schema, *rest = map(_written, parts(name))
    return ".".join(rest if rest and schema == "public" else (schema, *rest))


_LOWER = re.compile(r"[a-z_][a-z0-9_$]*")


def _written(part: str) -> str:
    return part if _LOWER.fullmatch(part) else '"' + part.replace('"', '""') + '"'


def _mention(name: str) -> re.Pattern[str]:
    """By its schema and name; what is in ``public`` also by its name alone, but not in another schema."""
    each = [_pattern(part) for part in parts(name)]
    prefix = "" if len(each) > 1 else rf"(?:{_pattern('public')} ?\. ?)?"
    return re.compile(rf'(?<![\w$.])(?<!\. )(?<!\.")(?<!""){prefix}{" ?[.] ?".join(each)}')


def _pattern(part: str) -> str:
    if _LOWER.fullmatch(part):
        return rf'"?{re.escape(part)}(?![\w$])"?'
    return re.escape(_written(part))

"""Which statement of the migrations made an object what it is: file and line, from their text.

What a statement does decides, not that it names the object: of a table without RLS it is CREATE TABLE or the last
ALTER TABLE … ROW LEVEL SECURITY, of one in the publication ALTER PUBLICATION or REPLICA IDENTITY, of a policy its own.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from realtime_toolkit.migrate.sqlsplit import significant, split
from realtime_toolkit.shown import shown
from realtime_toolkit.verify.names import NAME, parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from realtime_toolkit.migrate.sqlsplit import Statement
    from realtime_toolkit.verify.model import Finding


class Kind(StrEnum):
    """What a statement does; the value is a word that a script which does it has in it."""

    TABLE = "create table"
    COLUMN = "add column"
    KEY = "primary key"
    RLS = "row level security"
    IDENTITY = "replica identity"
    POLICY = "policy"
    TRIGGER = "trigger"
    INDEX = "create index"
    VIEW = "create view"
    FUNCTION = "function"
    GRANT = "to"
    PUBLICATION = "publication"


@dataclass(frozen=True, slots=True)
class Touch:
    """A statement that defines or changes something: names without schema ``public``, as findings show them."""

    file: str
    line: int
    kinds: frozenset[Kind]
    names: frozenset[str]
    """Objects it defines or changes; none where it may speak of several: those are looked for in the text."""
    text: str

    def concerns(self, names: frozenset[str]) -> bool:
        if self.names:
            return names <= self.names
        return all(_mention(name).search(self.text) for name in names)

    def does(self, kinds: frozenset[Kind]) -> bool:
        if self.kinds:
            return bool(kinds & self.kinds)
        return any(kind.value in self.text for kind in kinds)


# -- reading ---------------------------------------------------------------------------------------------

_QUALIFIED = rf"{NAME}(?: \. {NAME})?"
_IF = r"(?P<maybe>if not exists |if exists )?(?:only )?"
_DEFINITIONS = tuple(
    (kind, re.compile(pattern, re.DOTALL))
    for kind, pattern in (
        (Kind.TABLE, rf"create (?:(?:temp|temporary|unlogged|foreign) )?table {_IF}(?P<a>{_QUALIFIED})"),
        (None, rf"alter (?:foreign )?table {_IF}(?P<a>{_QUALIFIED})"),
        (None, rf"drop (?P<drop>(?:foreign )?table|policy|trigger|(?:materialized )?view|function|procedure|index) "
               rf"(?:concurrently )?{_IF}(?P<a>{_QUALIFIED})(?: on (?P<b>{_QUALIFIED}))?"),
        (Kind.INDEX, rf"create (?:unique )?index (?:concurrently )?{_IF}(?:(?P<a>(?!on ){NAME}) )?"
                     rf"on (?:only )?(?P<b>{_QUALIFIED})"),
        (Kind.POLICY, rf"(?:create|alter) policy {_IF}(?P<a>{NAME}) on (?P<b>{_QUALIFIED})"),
        (Kind.TRIGGER, rf"create (?:or replace )?(?:constraint )?trigger (?P<a>{NAME}) .*? on (?P<b>{_QUALIFIED})"),
        (Kind.VIEW, rf"(?:create|alter) (?:or replace )?(?:materialized )?view {_IF}(?P<a>{_QUALIFIED})"),
        (Kind.FUNCTION, rf"(?:create|alter) (?:or replace )?(?:function|procedure) {_IF}(?P<a>{_QUALIFIED})"),
    )
)  # fmt: skip
_OF_MANY = re.compile(
    r"(?P<grant>grant|revoke)\b|(?P<publication>(?:alter|create|drop) publication)\b|do\b|select\b.*track_table\b"
)
_TO_BE_READ = re.compile(
    r"(?:\s|--[^\n]*|/\*.*?\*/)*(?:create|alter|drop|grant|revoke|do|select)\b", re.I | re.S
)
_ACTIONS = (
    (Kind.RLS, re.compile(r"row level security")),
    (Kind.IDENTITY, re.compile(r"replica identity")),
    (Kind.KEY, re.compile(r"\b(?:primary key|unique)\b")),
    (Kind.TRIGGER, re.compile(rf"(?:enable|disable) (?:always |replica )?trigger ({NAME})")),
    (Kind.COLUMN, re.compile(rf"(?:add|alter|drop|rename)(?: column)?(?: if (?:not )?exists)? "
                             rf"((?!constraint|primary|unique|foreign|check|exclude|to ){NAME})")),
    (Kind.TABLE, re.compile(r"attach partition")),
)  # fmt: skip
_RENAME = re.compile(rf"rename to ({NAME})$")


class Sources:
    """The migrations of a directory, in order, asked for the statement that made an object what it is."""

    def __init__(self, touches: Sequence[Touch]) -> None:
        self._touches = tuple(touches)
        self._by_name: dict[str, list[int]] = defaultdict(list)
        self._scripts: list[int] = []
        for place, touch in enumerate(touches):
            for name in touch.names:
                self._by_name[name].append(place)
            if not touch.names:
                self._scripts.append(place)

    @classmethod
    def read(cls, directory: Path, relative_to: Path | None = None) -> Sources:
        """Files that cannot be read or split are passed over: locations are a help, not a verdict."""
        history = _History()
        for file, statement in _statements(directory, relative_to):
            history.add(file, statement)
        return cls(history.touches())

    def locate(self, finding: Finding) -> Finding:
        """The finding with the place of that statement; as it was if it has a place, or none is found."""
        if finding.file is not None:
            return finding
        for names, kinds in _wanted(finding):
            touch = self._last(names, kinds, _TELLING.get(finding.code))
            if touch is not None:
                return replace(finding, file=touch.file, line=touch.line)
        return finding

    def _last(
        self, names: frozenset[str], kinds: frozenset[Kind], telling: re.Pattern[str] | None
    ) -> Touch | None:
        defining = [place for name in names for place in self._by_name.get(name, ())]
        for place in sorted({*defining, *self._scripts}, reverse=True):
            touch = self._touches[place]
            told = telling is None or telling.search(touch.text)
            if touch.does(kinds) and told and touch.concerns(names):
                return touch
        return None


def _statements(directory: Path, relative_to: Path | None) -> Iterator[tuple[str, Statement]]:
    for path in sorted(directory.glob("*.sql")):
        try:
            statements = split(path.read_bytes().decode("utf-8-sig"))
        except (OSError, UnicodeDecodeError):
            continue
        name = path.as_posix()
        if relative_to is not None and path.is_relative_to(relative_to):
            name = path.relative_to(relative_to).as_posix()
        for statement in statements:
            if _TO_BE_READ.match(statement.text):
                yield shown(name), statement


class _History:
    """Statements in their order: what is dropped takes its past with it, what is there already is not made again."""

    def __init__(self) -> None:
        self._touches: list[Touch] = []
        self._made: set[str] = set()
        self._renamed: dict[str, str] = {}

    def touches(self) -> tuple[Touch, ...]:
        return tuple(
            replace(touch, names=frozenset(self._renamed.get(name, name) for name in touch.names))
            for touch in self._touches
        )

    def add(self, file: str, statement: Statement) -> None:
        text = significant(statement.text)
        for kind, pattern in _DEFINITIONS:
            match = pattern.match(text)
            if match is not None:
                self._define(
                    Touch(file, statement.line, frozenset({kind} if kind else ()), frozenset(), text), match
                )
                return
        many = _OF_MANY.match(text)
        if many is not None:
            kinds = {Kind.GRANT} if many["grant"] else {Kind.PUBLICATION} if many["publication"] else ()
            self._touches.append(Touch(file, statement.line, frozenset(kinds), frozenset(), shown(text)))

    def _define(self, touch: Touch, match: re.Match[str]) -> None:
        found = match.groupdict()
        names = frozenset(_plain(shown(name)) for name in (found["a"], found.get("b")) if name)
        if found.get("drop"):
            self._drop(names, whole="table" in found["drop"])
            if found.get("b"):  # that it is gone is a state of its table
                kind, table = Kind(found["drop"]), frozenset({_plain(shown(found["b"]))})
                self._touches.append(replace(touch, kinds=frozenset({kind}), names=table))
        elif not touch.kinds:
            self._alter(touch, next(iter(names)), match.string[match.end() :])
        elif not ((found.get("maybe") or "").startswith("if not") and names & self._made):
            self._made |= names if touch.kinds != {Kind.INDEX} else frozenset()
            self._touches.append(replace(touch, names=names))

    def _alter(self, touch: Touch, table: str, actions: str) -> None:
        kinds, names = set[Kind](), {table}
        for kind, pattern in _ACTIONS:
            for match in pattern.finditer(actions):
                kinds.add(kind)
                names |= {
                    _column(shown(name)) if kind is Kind.COLUMN else _plain(shown(name))
                    for name in match.groups()
                }
        renamed = _RENAME.search(actions)
        if renamed is not None:
            *schema, _ = parts(table)
            self._rename(table, _plain(".".join([*map(_written, schema), shown(renamed[1])])))
        elif kinds:
            self._touches.append(replace(touch, kinds=frozenset(kinds), names=frozenset(names)))

    def _rename(self, old: str, new: str) -> None:
        self._renamed = {name: new if to == old else to for name, to in self._renamed.items()} | {old: new}
        self._made = {new if name == old else name for name in self._made}

    def _drop(self, names: frozenset[str], *, whole: bool) -> None:
        """With a table goes all that was on it; with a policy or trigger what defined it."""
        self._touches = [
            t for t in self._touches if not names <= t.names or (not whole and Kind.TABLE in t.kinds)
        ]
        if len(names) == 1:
            self._made -= names


# -- what is wanted ---------------------------------------------------------------------------------------

_TABLE = frozenset({Kind.TABLE, Kind.VIEW})
_COLUMN = frozenset({Kind.TABLE, Kind.COLUMN})
_RLS = frozenset({Kind.TABLE, Kind.RLS, Kind.VIEW})
_POLICY, _TRIGGER, _GRANT = frozenset({Kind.POLICY}), frozenset({Kind.TRIGGER}), frozenset({Kind.GRANT})
_PUBLICATION, _IDENTITY = frozenset({Kind.PUBLICATION}), frozenset({Kind.IDENTITY})
_STATES: tuple[tuple[str, tuple[frozenset[Kind], ...]], ...] = (
    ("PUB004", (_PUBLICATION, _IDENTITY, _TABLE)),
    (r"PUB008|PUB009|PUB010|PUB014", (_IDENTITY, _PUBLICATION, _TABLE)),
    (r"PUB011|RLS012", (_GRANT, _PUBLICATION, _TABLE)),
    (r"PUB015", (frozenset({Kind.KEY, *_COLUMN}),)),
    (r"PUB016", (_COLUMN,)),
    (r"PUB", (_PUBLICATION, _TABLE)),
    (r"RLS001", (_RLS,)),
    (r"RLS002|ACC|LEK|DLV|MSG|CHN", (_POLICY, _RLS)),
    (r"UPD012", (_COLUMN,)),
    (r"UPD01\d", (_TRIGGER, _COLUMN)),
    (r"UPD001", (_TABLE,)),
    (r"UPD|TRK|COL|RLS004", (_COLUMN,)),
    (r"", (_RLS, _COLUMN)),
)
"""By the code of a finding about a table or a column, what is looked for first, and what else."""
_TELLING = {
    "PUB001": re.compile(r"drop publication"),
    "PUB002": re.compile(r"\bpublish\b"),
    "PUB003": re.compile(r"\b(?:for all tables|in schema)\b"),
    **dict.fromkeys(
        ("UPD010", "UPD011", "UPD013", "UPD014"),
        re.compile(r"\bbefore\b[^;]*\bupdate\b|^create (?!.*trigger)|^alter"),
    ),
}
"""What the statement must have in it besides."""
_PART = re.compile(rf"{NAME}(?:\.{NAME})*", re.IGNORECASE)


def _wanted(finding: Finding) -> Iterator[tuple[frozenset[str], frozenset[Kind]]]:
    kind, *_ = finding.object.split(" ", 1)
    if kind in ("policy", "trigger"):
        match = re.fullmatch(rf"{kind} ({NAME}) on ({NAME}\.{NAME})", finding.object, re.IGNORECASE)
        if match:
            own = _POLICY if kind == "policy" else _TRIGGER
            yield frozenset({_plain(match[1]), _plain(match[2])}), own
            yield frozenset({_plain(match[2])}), _RLS
    elif kind == "function":
        match = re.match(rf"function ({NAME}\.{NAME})\(", finding.object, re.IGNORECASE)
        if match:
            yield frozenset({_plain(match[1])}), frozenset({Kind.FUNCTION})
    elif kind == "publication":
        yield frozenset({finding.object.split(" ", 1)[1]}), _PUBLICATION
    elif _PART.fullmatch(finding.object):
        yield from _of_table(finding, re.findall(NAME, finding.object))


def _of_table(finding: Finding, names: Sequence[str]) -> Iterator[tuple[frozenset[str], frozenset[Kind]]]:
    if len(names) < 2:
        return
    table = _plain(".".join(names[:2]))
    named = re.search(rf"\bthe trigger ({NAME})", finding.detail, re.IGNORECASE)
    if named is not None:
        yield frozenset({_plain(named[1]), table}), _TRIGGER
    for kinds in next(states for code, states in _STATES if re.match(code, finding.code)):
        if len(names) > 2 and Kind.COLUMN in kinds:
            yield frozenset({table, _column(names[2])}), frozenset({Kind.COLUMN})
            kinds -= {Kind.COLUMN}  # the others' columns
        yield frozenset({table}), kinds
    yield frozenset({_plain(names[1])}), frozenset({Kind.INDEX})  # an index is named without its schema
    yield frozenset({table}), frozenset(Kind)


def _column(name: str) -> str:
    return f"column {_plain(name)}"


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

"""Take SQL text apart where Postgres' own lexer would. Pure.

A file becomes the statements that the Supabase CLI stores in ``schema_migrations.statements``: without
their ``;``, with the comments that stand before them. A comment after the last ``;`` is a statement of
its own, as it is for the CLI; a file of nothing but space has none.

Where the lexer's rules come from: https://www.postgresql.org/docs/current/sql-syntax-lexical.html, and
for ``BEGIN ATOMIC`` and parentheses (rules hold several statements in one) what psql does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from realtime_toolkit.shown import ACTED_ON, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a file.

    ``offset`` is where ``text`` begins in the file, in characters. Past its leading comments, at
    ``text[lead:]`` and in line ``line`` (from 1), stands what Postgres acts on. ``words`` are its first
    words in lower case, up to eight; none for a mere comment.
    """

    text: str
    offset: int
    line: int
    lead: int = 0
    words: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        """The text without its leading comments; empty if it is nothing else."""
        return self.text[self.lead :]


class Kind(Enum):
    SPACE = auto()
    COMMENT = auto()
    STRING = auto()
    WORD = auto()
    OTHER = auto()


_LETTER = r"A-Za-z_\x80-\U0010ffff"
_TOKEN = re.compile(
    rf"""
      (?P<space>[ \t\n\r\f\v]+)
    | (?P<comment>--[^\n\r]*)
    | (?P<block>/\*)
    | (?P<escape>[eE]')
    | (?P<quote>(?:[uU]&|[bBnNxX])?')
    | (?P<name>(?:[uU]&)?"(?:[^"]|"")*+(?:"|\Z))
    | (?P<dollar>\$(?:[{_LETTER}][{_LETTER}0-9]*)?\$)
    | (?P<word>[{_LETTER}][{_LETTER}0-9$]*)
    | (?P<number>[0-9](?:[{_LETTER}0-9]|\.(?!\.))*)
    | (?P<operator>(?:(?!--|/\*)[-~!@\#^&|`?+*/%<>=])+)
    | (?P<char>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_PLAIN_REST = re.compile(r"(?:[^']|'')*+(?:'|\Z)")
_ESCAPE_REST = re.compile(r"(?:[^'\\]|\\.|'')*+\\?(?:'|\Z)", re.DOTALL)
# A string goes on in the next literal if only space with a newline stands between, and keeps its rules.
_CONTINUED = re.compile(r"(?:[ \t\f\v]|--[^\n\r]*+)*+[\n\r](?:[ \t\n\r\f\v]|--[^\n\r]*+[\n\r])*+'")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: Kind
    start: int
    end: int
    text: str


def _token(sql: str, at: int, *, backslashes: bool) -> _Token:
    """The token at ``at``; ``backslashes`` is ``standard_conforming_strings = off``."""
    match = _TOKEN.match(sql, at)
    assert match is not None  # the last alternative takes any character
    name, end = match.lastgroup, match.end()
    kind = Kind.OTHER
    if name == "space":
        kind = Kind.SPACE
    elif name in ("comment", "block"):
        kind = Kind.COMMENT
        end = end if name == "comment" else _block_end(sql, end)
    elif name in ("escape", "quote"):
        kind = Kind.STRING
        end = _string_end(sql, end, escapes=name == "escape" or (backslashes and match[0] == "'"))
    elif name == "dollar":
        kind = Kind.STRING
        close = sql.find(match[0], end)
        end = len(sql) if close < 0 else close + len(match[0])
    elif name == "word":
        kind = Kind.WORD
    return _Token(kind, at, end, sql[at:end])


def _block_end(sql: str, at: int) -> int:
    depth = 1
    for edge in _BLOCK_EDGE.finditer(sql, at):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)


def _string_end(sql: str, at: int, *, escapes: bool) -> int:
    rest = _ESCAPE_REST if escapes else _PLAIN_REST
    while True:
        match = rest.match(sql, at)
        end = match.end() if match else len(sql)
        again = _CONTINUED.match(sql, end) if escapes else None
        if again is None:
            return end
        at = again.end()


class _Open:
    """The statement being read: whether a ``;`` would end it, and its first words."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.first: int | None = None
        self.words: list[str] = []
        self._parens = 0
        self._blocks = 0
        self._previous = ""

    def ends_with(self, token: _Token) -> bool:
        """Take in one token; true for the ``;`` that ends the statement."""
        if token.kind in (Kind.SPACE, Kind.COMMENT):
            return False
        text = token.text.lower() if token.kind is Kind.WORD else token.text
        if text == ";" and not self._parens and not self._blocks:
            return True
        if self.first is None:
            self.first = token.start
        if token.kind is Kind.WORD:
            self._word(text)
        elif text == "(":
            self._parens += 1
        elif text == ")":
            self._parens = max(0, self._parens - 1)
        self._previous = text
        return False

    def _word(self, word: str) -> None:
        if len(self.words) < 8:
            self.words.append(word)
        if self._parens == 0 and word == "atomic" and self._previous == "begin" and self._makes_routine():
            self._blocks = 1
        elif self._blocks and word in ("case", "end"):
            self._blocks += 1 if word == "case" else -1

    def _makes_routine(self) -> bool:
        words = self.words[3:] if self.words[1:3] == ["or", "replace"] else self.words[1:]
        return self.words[:1] == ["create"] and words[:1] in (["function"], ["procedure"])


def split(sql: str) -> tuple[Statement, ...]:
    """The statements of a file, in order.

    >>> [s.text for s in split("create table t(); -- why\\nselect ';' ;")]
    ['create table t()', "-- why\\nselect ';'"]
    """
    found: list[Statement] = []
    lines = _Lines(sql)
    at, statement, backslashes = 0, _Open(0), False
    while at < len(sql):
        token = _token(sql, at, backslashes=backslashes)
        at = token.end
        if statement.ends_with(token):
            backslashes = _backslashes_after(sql[statement.start : at], backslashes)
            found += _cut(sql, statement, at, lines)
            statement = _Open(at)
    found += _cut(sql, statement, at, lines)
    return tuple(found)


# What the CLI trims is JavaScript's white space; Python's strip() would take a little more.
_SPACE = (
    "\t\n\v\f\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


def _cut(sql: str, statement: _Open, end: int, lines: _Lines) -> Iterator[Statement]:
    text = sql[statement.start : end].rstrip(";").strip(_SPACE)
    if text:
        offset = sql.index(text, statement.start)
        first = offset + len(text) if statement.first is None else statement.first
        line = lines.line_at(offset if statement.first is None else first)
        yield Statement(text, offset, line, first - offset, tuple(statement.words))


class _Lines:
    """Line numbers for offsets that only grow."""

    def __init__(self, sql: str) -> None:
        self._sql, self._at, self._line = sql, 0, 1

    def line_at(self, offset: int) -> int:
        self._line += self._sql.count("\n", self._at, offset)
        self._at = offset
        return self._line


_SET_CONFORMING = re.compile(
    r"set\s+(?:(?:session|local)\s+)?standard_conforming_strings\s*(?:=|\sto\s)\s*'?(\w+)", re.IGNORECASE
)


def _backslashes_after(statement: str, before: bool) -> bool:
    """Whether plain strings take backslash escapes after this statement ran."""
    if "standard_conforming_strings" not in statement.lower():
        return before
    match = _SET_CONFORMING.match(significant(statement))
    return before if match is None else match[1].lower() in ("off", "false", "no", "0", "of", "f", "n")


def significant(sql: str) -> str:
    """The text reduced to what Postgres acts on: no comments, single spaces, unquoted words in lower case.

    Two texts that reduce to the same differ in layout only. Strings and dollar-quoted bodies keep every
    character but the carriage returns of CRLF, which a checkout on Windows adds.
    """
    return " ".join(_significant(sql))


def _significant(sql: str) -> Iterator[str]:
    at = 0
    while at < len(sql):
        token = _token(sql, at, backslashes=False)
        at = token.end
        if token.kind is Kind.WORD:
            yield token.text.lower()
        elif token.kind is Kind.STRING:
            yield token.text.replace("\r\n", "\n")
        elif token.kind is Kind.OTHER:
            yield token.text


def same_meaning(one: Iterable[str], other: Iterable[str]) -> bool:
    """Whether two lists of statements differ in layout, comments or how they were split only."""
    return " ; ".join(filter(None, map(significant, one))) == " ; ".join(
        filter(None, map(significant, other))
    )


def without_word(sql: str, word: str) -> str:
    """The text without the first occurrence of a keyword."""
    at = 0
    while at < len(sql):
        token = _token(sql, at, backslashes=False)
        if token.kind is Kind.WORD and token.text.lower() == word:
            return sql[: token.start] + sql[token.end :]
        at = token.end
    return sql


_ODD = re.compile(f"[{ACTED_ON}]")
_ODD_OR_BACKSLASH = re.compile(rf"[\\{ACTED_ON}]")


def printable(sql: str) -> str:
    """Statements that do the same and hold nothing that a terminal or a line acts on.

    Names and strings with such characters become ``U&"…"`` and ``U&'…'``. From the first ``--`` on the text is one
    remark to its end: a name in it cannot end it and go on as SQL.

    >>> print(printable('drop table "a' + chr(10) + '";  -- or ask'))
    drop table U&"a\\000a";  -- or ask
    """
    return "".join(_printable(sql))


def _printable(sql: str) -> Iterator[str]:
    at = 0
    while at < len(sql):
        token = _token(sql, at, backslashes=False)
        if token.text.startswith("--"):
            yield shown(sql[at:])
            return
        yield _respelled(token)
        at = token.end


def _respelled(token: _Token) -> str:
    text = token.text
    if token.kind is Kind.SPACE:
        return re.sub(r"[^ \n]", " ", text)
    if not _ODD.search(text):
        return text
    if text[0] in "'\"":
        return "U&" + _ODD_OR_BACKSLASH.sub(lambda odd: _coded(ord(odd[0])), text)
    if text[:2] in ("e'", "E'"):
        return _ODD.sub(lambda odd: f"\\U{ord(odd[0]):08x}", text)
    return shown(text)


def _coded(point: int) -> str:
    """As ``U&`` spells a character."""
    if point == ord("\\"):
        return "\\\\"
    return f"\\{point:04x}" if point < 0x10000 else f"\\+{point:06x}"

"""Take SQL text apart where Postgres' own lexer would. Pure.

A file becomes the statements that the Supabase CLI stores in ``schema_migrations.statements``: without
their ``;``, with the comments that stand before them. A comment after the last ``;`` is a statement of
its own, as it is for the CLI; a file of nothing but space has none. Beyond the CLI, which cannot run
either, the rows after ``COPY … FROM stdin;`` up to ``\\.`` belong to their statement, and a psql command at
its beginning (``\\restrict``) is read as a comment is.

Where the lexer's rules come from: https://www.postgresql.org/docs/current/sql-syntax-lexical.html, and
for ``BEGIN ATOMIC`` and parentheses (rules hold several statements in one) what psql does.

Most statements are taken in by one match of ``_RUN``; it stops at whatever it does not know for
certain, and such a statement is read token by token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from itertools import takewhile, zip_longest
from typing import TYPE_CHECKING, NamedTuple

from realtime_toolkit.shown import ACTED_ON, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Statement(NamedTuple):
    """One statement of a file.

    ``offset`` is where ``text`` begins in the file, in characters. Past its leading comments, at
    ``text[lead:]`` and in line ``line`` (from 1), stands what Postgres acts on, up to ``text[:data]`` where
    the rest is what comes after the ``;`` of ``COPY … FROM stdin``.
    """

    text: str
    offset: int
    line: int
    lead: int = 0
    data: int | None = None

    @property
    def code(self) -> str:
        """The text without its leading comments and its rows; empty if it is nothing else."""
        return self.text[self.lead : self.data]

    @property
    def words(self) -> tuple[str, ...]:
        """The first words in lower case, up to eight; none for a mere comment."""
        return _words(self.code, 8)

    @property
    def two(self) -> tuple[str, ...]:
        """The first two of ``words``: cheaper."""
        return _words(self.code, 2)

    @property
    def head(self) -> str:
        """The first word in lower case, if the statement begins with one: cheaper than ``words``."""
        match = _HEAD.match(self.text, self.lead)
        return match[0].lower() if match else ""

    @property
    def commands(self) -> list[str]:
        """The psql commands that stand before the statement, each without its backslash."""
        if "\\" not in self.text[: self.lead]:
            return []
        return [text[1:].rstrip() for text in _leading(self.text, self.lead) if text.startswith("\\")]

    @property
    def sql(self) -> str:
        """What is to be sent: the text without psql commands and rows; every character in its place."""
        if not self.commands:
            return self.text[: self.data]
        lead = "".join(
            re.sub(r"[^\n]", " ", text) if text.startswith("\\") else text
            for text in _leading(self.text, self.lead)
        )
        return lead + self.code


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
    """The statement being read token by token: whether a ``;`` would end it."""

    def __init__(self) -> None:
        self.copies = False
        self._words: list[str] = []
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
        if token.kind is Kind.WORD:
            self._word(text)
        elif text == "(":
            self._parens += 1
        elif text == ")":
            self._parens = max(0, self._parens - 1)
        self._previous = text
        return False

    @property
    def begun(self) -> bool:
        return self._previous != ""

    def _word(self, word: str) -> None:
        if not self._words and self._previous:
            self._words.append("")  # began with something else
        if len(self._words) < 8:
            self._words.append(word)
        if self._parens:
            return
        if word == "atomic" and self._previous == "begin" and self._makes_routine():
            self._blocks = 1
        elif self._blocks and word in ("case", "end"):
            self._blocks += 1 if word == "case" else -1
        elif word == "stdin" and self._previous == "from" and self._words[0] == "copy":
            self.copies = True

    def _makes_routine(self) -> bool:
        words = self._words[3:] if self._words[1:3] == ["or", "replace"] else self._words[1:]
        return self._words[:1] == ["create"] and words[:1] in (["function"], ["procedure"])


# -- a whole statement in one match ---------------------------------------------------------------------

# Greedy, and so that no text can be read in two ways: possessive groups are broken in Python 3.11.2 (gh-106052).
_BEFORE = rf"[{_LETTER}0-9$]"  # what makes an E or a $ the rest of a name
_BLOCK = r"/\*(?:[^*/]++|\*(?!/)|/(?!\*)|/\*(?:[^*/]++|\*(?!/)|/(?!\*))*\*/)*\*/"  # with others in it, but no deeper
_ATOMS = rf"""
      [^;'"$()/\\-]++
    | --[^\n\r]*+ | -(?!-) | /(?!\*) | {_BLOCK}
    | (?<=[eE])(?<!{_BEFORE}[eE])'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*'(?!\s*+(?:--[^\n\r]*+\s*+)*')
    | (?:(?<![eE])|(?<={_BEFORE}[eE]))'[^']*+(?:''[^']*+)*'(?!')
    | "[^"]*+"
    | (?<!{_BEFORE})\$(?:[0-9]++(?![{_LETTER}$])|\$(?:[^$]++|\$(?!\$))*\$\$(?!{_BEFORE}))
"""


def _balanced(depth: int) -> str:
    """What cannot end a statement, parentheses included, to a depth; deeper ones are read token by token."""
    inner = rf"| \((?:{_balanced(depth - 1)}){{0,20000}}\)" if depth else ""
    return _ATOMS + inner


_RUN = re.compile(rf"(?:{_balanced(6)}){{1,20000}}", re.VERBOSE | re.DOTALL)
_TAG = re.compile(rf"(?<!{_BEFORE})\$[{_LETTER}][{_LETTER}0-9]*\$")
_NAME_GOES_ON = re.compile(_BEFORE)
_APART = re.compile("atomic|stdin|standard_conforming_strings", re.IGNORECASE)
"""Words of statements that are not what they look like."""


def split(sql: str) -> tuple[Statement, ...]:
    """The statements of a file, in order.

    >>> [s.text for s in split("create table t(); -- why\\nselect ';' ;")]
    ['create table t()', "-- why\\nselect ';'"]
    """
    found: list[Statement] = []
    line, counted = 1, 0
    for start, end, data in _spans(sql):
        text = sql[start:end]
        text = (text.rstrip(";") if data is None else text).strip(_SPACE)
        if not text:
            continue
        offset = sql.index(text, start)
        lead = _lead(text) if text[0] in "-/\\" else 0
        first = offset + (lead if lead < len(text) else 0)
        line += sql.count("\n", counted, first)
        counted = first
        found.append(Statement(text, offset, line, lead, None if data is None else data - offset))
    return tuple(found)


def _spans(sql: str) -> Iterator[tuple[int, int, int | None]]:
    """Where each statement begins and ends, and where what follows the ``;`` of COPY begins."""
    odd = _odd_places(sql)
    next_odd = next(odd, len(sql))
    at, backslashes = 0, False
    while at < len(sql):
        start, data = at, None
        while next_odd < start:
            next_odd = next(odd, len(sql))
        end = None if backslashes else _end(sql, start)
        if end is not None and end <= next_odd:
            at = end
        else:
            at, copies = _read(sql, start, backslashes=backslashes)
            backslashes = _backslashes_after(sql[start:at], backslashes)
            if copies:
                data, at = at, _rows_end(sql, at)
        yield start, at, data


def _end(sql: str, at: int) -> int | None:
    """Where a statement ends, if that is easily seen."""
    run = _RUN.match(sql, at)
    while True:
        at = run.end() if run else at
        stop = sql[at : at + 1]
        if stop in (";", ""):
            return at + len(stop)
        if stop == "$" and (tag := _TAG.match(sql, at)):
            at = sql.find(tag[0], tag.end()) + len(tag[0])
            if at < tag.end() or _NAME_GOES_ON.match(sql, at):
                return None
        elif run is None:
            return None
        run = _RUN.match(sql, at)


def _odd_places(sql: str) -> Iterator[int]:
    """Where the words of ``_APART`` stand."""
    low = sql.encode(errors="replace").lower()
    words = _APART.pattern.encode().split(b"|")
    return (
        (match.start() for match in _APART.finditer(sql)) if any(word in low for word in words) else iter(())
    )


def _read(sql: str, at: int, *, backslashes: bool) -> tuple[int, bool]:
    """Where the statement at ``at`` ends, token by token; and whether rows for COPY follow it."""
    statement = _Open()
    while at < len(sql):
        if sql[at] == "\\" and not statement.begun:
            at = _line_end(sql, at)
            continue
        token = _token(sql, at, backslashes=backslashes)
        at = token.end
        if statement.ends_with(token):
            return at, statement.copies
    return at, False


def _line_end(sql: str, at: int) -> int:
    end = sql.find("\n", at)
    return len(sql) if end < 0 else end


def _rows_end(sql: str, at: int) -> int:
    """Where the line ``\\.`` ends, which ends the rows that begin in the line after ``at``; else the end of the file."""
    end = _line_end(sql, at)
    while (end := sql.find("\n\\.", end)) >= 0:
        end += 3
        if sql[end : end + 1] in ("", "\n") or sql[end : end + 2] == "\r\n":
            return end
    return len(sql)


# What the CLI trims is JavaScript's white space; Python's strip() would take a little more.
_SPACE = (
    "\t\n\v\f\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_HEAD = re.compile(r"[A-Za-z_]+")
_LEAD = re.compile(rf"(?:[ \t\n\r\f\v]++|--[^\n\r]*+|\\[^\n]*+|{_BLOCK})*")


def _lead(text: str) -> int:
    """Where the comments and psql commands before a statement end."""
    match = _LEAD.match(text)
    end = match.end() if match else 0
    return sum(map(len, _leading(text, len(text)))) if text.startswith("/*", end) else end


def _leading(text: str, end: int) -> Iterator[str]:
    """The space, comments and psql commands that a text begins with."""
    at = 0
    while at < end:
        if text[at] == "\\":
            stop = _line_end(text, at)
        else:
            token = _token(text, at, backslashes=False)
            stop = token.end if token.kind in (Kind.SPACE, Kind.COMMENT) else at
        if stop == at:
            return
        yield text[at:stop]
        at = stop


def _words(code: str, limit: int) -> tuple[str, ...]:
    found: list[str] = []
    at = 0
    while at < len(code) and len(found) < limit:
        token = _token(code, at, backslashes=False)
        at = token.end
        if token.kind is Kind.WORD:
            found.append(token.text.lower())
    return tuple(found)


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


def same_meaning(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether two lists of statements differ in layout, comments or how they were split only."""
    alike = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    pairs = zip_longest(_sequence(one[alike:]), _sequence(other[alike:]))
    return all(mine == theirs for mine, theirs in pairs)


def _sequence(statements: Sequence[str]) -> Iterator[str]:
    """The tokens of statements, a ``;`` after each that has any."""
    for statement in statements:
        some = False
        for text in _significant(statement):
            some = True
            yield text
        if some:
            yield ";"


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

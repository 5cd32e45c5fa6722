"""Policies as texts that Postgres deparsed: their alternatives, and what they say for a token of a known shape. Pure.

``pg_get_expr`` puts every AND and OR into parentheses of its own, so counting those is enough to take one apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARK = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|[()]| AND | OR | = | FROM | AS [\w"]+$""")
_CALL = re.compile(r"\((auth\.\w+\(\))\)")
_SCALAR = "( SELECT "
_CLAIMS = re.compile(r"\(current_setting\('request\.jwt\.claims'::text(?:, true)?\)\)::jsonb?|auth\.jwt\(\)")


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of every token of a kind, for a policy to be read with."""

    role: str
    user: str | None
    aal: str = "aal1"
    anonymous: bool = False


def alternatives(text: str) -> list[str]:
    """What an expression is joined of by OR, at the top; itself where it is not."""
    return _parts(_bare(text), " OR ")


def arms(text: str) -> Iterator[str]:
    """The expression's alternatives, and those inside of what they join by AND; not those of subqueries."""
    for each in alternatives(text):
        yield each
        for part in _parts(_bare(each), " AND "):
            if len(alternatives(part)) > 1:
                yield from arms(part)


def conditions(text: str) -> list[str]:
    """What an expression is joined of by AND, at the top; itself where it is not."""
    return _parts(_bare(text), " AND ")


def comparisons(text: str) -> Iterator[tuple[str, str]]:
    """Both sides of every ``a = b`` that the expression is joined of."""
    for word in (" OR ", " AND "):
        operands = _parts(_bare(text), word)
        if len(operands) > 1:
            for each in operands:
                yield from comparisons(each)
            return
    sides = _parts(_bare(text), " = ")
    if len(sides) == 2:
        yield sides[0], sides[1]


def unwrapped(text: str) -> str:
    """Without subqueries that only hold an expression: ``( SELECT auth.uid() AS uid)`` is ``auth.uid()``."""
    start = text.find(_SCALAR)
    while start >= 0:
        end = _closing(text, start)
        inner = text[start + len(_SCALAR) : end]
        marks = list(_outer(inner))
        if not any(mark[0] == " FROM " for mark in marks):
            name = next((mark.start() for mark in marks if mark[0].startswith(" AS ")), len(inner))
            text = f"{text[:start]}({inner[:name]}){text[end + 1 :]}"
        start = text.find(_SCALAR, start + 1)
    return _CALL.sub(r"\1", text)


def folded(text: str, token: Token) -> str:
    """The expression with what this token says in place of the calls that ask it."""
    user = "NULL::uuid" if token.user is None else f"'{token.user}'::uuid"
    text = unwrapped(text).replace("auth.uid()", user).replace("auth.role()", f"'{token.role}'::text")
    text = _CLAIMS.sub("auth.jwt()", text).replace("CURRENT_USER", f"'{token.role}'::name")
    claims = {"aal": token.aal, "role": token.role, "is_anonymous": str(token.anonymous).lower()}
    for name, value in claims.items():
        text = text.replace(f"auth.jwt() ->> '{name}'::text", f"'{value}'::text")
    return text


def _bare(text: str) -> str:
    while text.startswith("(") and _closing(text, 0) == len(text) - 1:
        text = text[1:-1]
    return text


def _closing(text: str, start: int) -> int:
    """Where the parenthesis that opens at ``start`` is closed."""
    depth = 0
    for mark in _MARK.finditer(text, start):
        depth += {"(": 1, ")": -1}.get(mark[0], 0)
        if depth == 0:
            return mark.start()
    return len(text)


def _outer(text: str) -> Iterator[re.Match[str]]:
    """Marks outside of all parentheses."""
    depth = 0
    for mark in _MARK.finditer(text):
        depth += {"(": 1, ")": -1}.get(mark[0], 0)
        if depth == 0 and mark[0] != ")":
            yield mark


def _parts(text: str, word: str) -> list[str]:
    """The operands of that word; a text that begins as a query is one."""
    cuts = [] if text.startswith(" SELECT ") else [mark for mark in _outer(text) if mark[0] == word]
    starts = [0, *(mark.end() for mark in cuts)]
    return [text[a:b] for a, b in zip(starts, [*(mark.start() for mark in cuts), len(text)], strict=True)]

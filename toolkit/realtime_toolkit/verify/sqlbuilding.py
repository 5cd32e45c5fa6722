"""Whether a PL/pgSQL body pastes its arguments into SQL that it executes. Pure.

Read are the texts that EXECUTE runs, and the variables that they are made of. An argument is harmless inside quote_ident,
quote_literal or quote_nullable, as ``%I`` or ``%L`` of ``format``, after USING, and where it is compared with a list first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TOKEN = re.compile(
    r"(?P<string>[eE]?'(?:[^']|'')*')|(?P<dollar>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)|(?P<name>\"(?:[^\"]|\"\")+\"|[^\W\d][\w$]*|\$\d+)"
    r"|(?P<mark>\|\||:=|::|=>|[-+*/<>=~!@#%^&|`?.,;()\[\]:]|\d[\w.]*)",
    re.DOTALL,
)
_SAFE_CALLS = frozenset(
    {
        "quote_ident",
        "quote_literal",
        "quote_nullable",
        "length",
        "char_length",
        "array_length",
        "cardinality",
        "md5",
    }
)
_SPECIFIER = re.compile(r"%(?:(?P<place>\d+)\$)?-?\d*(?P<kind>[sIL%])")
_END = frozenset({"using", "into", "loop"})
_SAFE_TYPES = frozenset({
    "regclass", "regtype", "regproc", "regprocedure", "regrole", "regnamespace", "uuid", "integer", "int", "bigint", "smallint",
    "numeric", "boolean", "date", "timestamptz", "timestamp", "interval",
})  # fmt: skip
TEXTS = frozenset({
    "text", "character varying", "character", "name", "json", "jsonb", "citext", "extensions.citext", "public.citext", "text[]",
    "character varying[]", "name[]", "jsonb[]",
})  # fmt: skip
"""Types of which a value can hold any text."""


def pasted(source: str, parameters: Iterable[str]) -> frozenset[str]:
    """Parameters (names, or ``$1``) whose text becomes part of SQL that ``source``, a body without comments, executes."""
    tokens = list(_TOKEN.finditer(source))
    texts = [match[0] if match["name"] is None else _plain(match[0]) for match in tokens]
    wanted = {name for name in parameters if not _is_listed(texts, name)}
    assigned = dict[str, list[list[str]]]()
    for name, expression in _assignments(texts):
        assigned.setdefault(name, []).append(expression)
    found = set[str]()
    for expression in _executed(texts):
        todo, seen = [expression], set[str]()
        while todo:
            names = set(_loose(todo.pop()))
            found |= names & wanted
            for name in (names & assigned.keys()) - seen - wanted:
                if not _is_listed(texts, name):
                    todo += assigned[name]
            seen |= names
    return frozenset(found)


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()


def _is_listed(texts: list[str], name: str) -> bool:
    """Whether it is compared with a list or a pattern: ``p in ('a', 'b')``, ``p = any (array['a'])``, ``p ~ '^[a-z]+$'``."""
    for at, text in enumerate(texts):
        if text == name:
            rest = [t for t in texts[at + 1 : at + 10] if t not in (")", "not", "!")]
            among = rest[:2] == ["in", "("] and _is_literal(rest[2:3])
            any_of = rest[:1] in (["="], ["<"]) and {"any", "all"} & set(rest[1:4]) and "array" in rest
            if among or any_of or (rest[:1] == ["~"] and _is_literal(rest[1:2])):
                return True
    return False


def _is_literal(texts: list[str]) -> bool:
    return bool(texts) and texts[0].endswith(("'", "$"))


def _executed(texts: list[str]) -> Iterator[list[str]]:
    """What stands after each EXECUTE of a body; that of a GRANT or a trigger is none."""
    for at, text in enumerate(texts):
        if text == "execute" and texts[at + 1 : at + 2] not in (["function"], ["procedure"], ["on"]):
            yield list(_until(texts, at + 1, _END | {";"}))


def _until(texts: list[str], start: int, ends: frozenset[str] | set[str]) -> Iterator[str]:
    depth = 0
    for text in texts[start:]:
        if depth == 0 and text in ends:
            return
        depth += (text in "([") - (text in ")]") if len(text) == 1 else 0
        yield text


def _assignments(texts: list[str]) -> Iterator[tuple[str, list[str]]]:
    """``v := expression``, ``v text default expression``, ``select expression into v``."""
    for at, text in enumerate(texts):
        if text in (":=", "=") and at and texts[at - 1] not in ("<", ">", "!"):
            before = texts[max(0, at - 4) : at]
            target = before[-1]
            starts = {";", "begin", "then", "else", "loop", "declare"}
            for back in range(2, 5):  # the name stands first in its statement, a type may follow it
                if len(before) >= back and before[-back] in starts:
                    target = before[-back + 1]
                    break
            yield target, list(_until(texts, at + 1, {";"}))
        elif text == "default":
            yield texts[at - 2] if at > 1 else "", list(_until(texts, at + 1, {";"}))
        elif text == "into" and at + 1 < len(texts):
            start = max((i for i in range(at) if texts[i] in ("select", ";")), default=0)
            yield texts[at + 1], texts[start + 1 : at]


def _loose(expression: list[str]) -> Iterator[str]:
    """Names of an expression whose text goes into its result as it is."""
    at = 0
    while at < len(expression):
        text, following = expression[at], expression[at + 1 : at + 2]
        if following == ["("] and text in _SAFE_CALLS:
            at += _length(expression, at + 1) + 1
        elif following == ["("] and text == "format":
            inside = expression[at + 2 : at + _length(expression, at + 1)]
            yield from _formatted(inside)
            at += _length(expression, at + 1) + 1
        elif text == "case":
            yield from _branches(expression, at)
            at = _end_of_case(expression, at)
        elif following == ["::"] and expression[at + 2 : at + 3] and expression[at + 2] in _SAFE_TYPES:
            at += 3
        else:
            if text[:1].isalpha() or (text[:1] in "_$" and len(text) > 1):
                yield text
            at += 1


def _length(expression: list[str], start: int) -> int:
    """How many tokens the parenthesis at ``start`` takes, itself included."""
    depth = 0
    for count, text in enumerate(expression[start:], 1):
        depth += (text == "(") - (text == ")")
        if depth == 0:
            return count
    return len(expression) - start


def _formatted(inside: list[str]) -> Iterator[str]:
    template, *arguments = _split(inside)
    if len(template) != 1 or not (template[0].endswith("'") or template[0].startswith("$")):
        yield from _loose(template)
        for argument in arguments:
            yield from _loose(argument)
        return
    place = 0
    for match in _SPECIFIER.finditer(template[0]):
        if match["kind"] == "%":
            continue
        place = int(match["place"]) if match["place"] else place + 1
        if match["kind"] == "s" and place <= len(arguments):
            yield from _loose(arguments[place - 1])


def _split(inside: list[str]) -> list[list[str]]:
    """At the commas of the outermost level."""
    found, depth = [list[str]()], 0
    for text in inside:
        depth += (text in ("(", "[")) - (text in (")", "]"))
        if text == "," and depth == 0:
            found.append([])
        else:
            found[-1].append(text)
    return found


def _branches(expression: list[str], start: int) -> Iterator[str]:
    """What a CASE can come to: what stands after THEN and ELSE, not what it asks."""
    inside = expression[start + 1 : _end_of_case(expression, start) - 1]
    for at, text in enumerate(inside):
        if text in ("then", "else"):
            yield from _loose(list(_until(inside, at + 1, {"when", "else", "end"})))


def _end_of_case(expression: list[str], start: int) -> int:
    depth = 0
    for at in range(start, len(expression)):
        depth += (expression[at] == "case") - (expression[at] == "end")
        if depth == 0:
            return at + 1
    return len(expression)

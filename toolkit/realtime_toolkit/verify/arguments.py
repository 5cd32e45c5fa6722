"""With which arguments a function is tried: those that name somebody else's row. Pure."""

from __future__ import annotations

import re
from itertools import islice, product
from typing import TYPE_CHECKING

from realtime_toolkit.verify.names import parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from realtime_toolkit.verify.functions import Function, Parameter
    from realtime_toolkit.verify.seeding import Row
    from realtime_toolkit.verify.tables import Table

Arguments = tuple[tuple[int, str | None], ...]
"""Place of a parameter, and its value as text; one that has a default may be left out."""
_EACH, _MOST = 4, 32
_UNKNOWN = "00000000-0000-4000-8000-000000000000"
_USER = re.compile(
    r"(^|_)(user|uid|owner|author|member|account|person|profile|customer|recipient|sender|player)(_|$)|^(p_)?target$"
)
_SECRET = re.compile(r"(^|_)(token|code|secret|password|passcode|otp|pin|key|hash|signature|nonce)(_|$)")
_SIZE = re.compile(r"(^|_)(limit|count|size|max|most|top|rows|n)(_|$)")
_START = re.compile(r"(^|_)(offset|skip|start_at)(_|$)")
_NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
_TEXTS = frozenset(
    {"text", "character varying", "character", "citext", "extensions.citext", "public.citext", "name"}
)
_DULL = frozenset(
    {
        "p",
        "in",
        "arg",
        "v",
        "the",
        "new",
        "old",
        "target",
        "source",
        "from",
        "to",
        "id",
        "ids",
        "of",
        "by",
        "my",
        "uuid",
    }
)


def calls(
    function: Function, tables: Sequence[Table], rows: Mapping[str, Row], people: Sequence[str]
) -> Iterator[Arguments]:
    """Arguments to call it with, the likeliest first; ``rows`` are the stranger's, by table.

    ``tables`` are those that it may mean, the ones that it names first. A parameter that takes a user gets each of
    ``people``, ids of users: the stranger's, the caller's, a third one's.
    """
    places = [
        [(i, value) for value in _values(parameter, tables, rows, people)]
        for i, parameter in enumerate(function.parameters)
        if not parameter.optional or _names_somebody(parameter, tables)
    ]
    yield from islice(product(*places), _MOST)


def words(name: str) -> tuple[str, ...]:
    """``p_targetUserId`` is target, user, id."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return tuple(word for word in snake.split("_") if word)


def _telling(name: str) -> tuple[str, ...]:
    return tuple(word for word in words(name) if word not in _DULL)


def _names_somebody(parameter: Parameter, tables: Sequence[Table]) -> bool:
    plain = "_".join(words(parameter.name))
    return bool(_USER.search(plain)) or any(
        _fits(parameter, t, c.name) for t in tables for c in t.columns if c.name.endswith("id")
    )


def _values(
    parameter: Parameter, tables: Sequence[Table], rows: Mapping[str, Row], people: Sequence[str]
) -> list[str | None]:
    array = parameter.base.endswith("[]")
    base = parameter.base.removesuffix("[]")
    plain = "_".join(words(parameter.name))
    if _SECRET.search(plain):  # who has it may: nobody else is to be tried with it
        return list(_usual(parameter, base, plain)) or [_UNKNOWN if base == "uuid" else None]
    found = list(_by_name(parameter, base, tables, rows))
    if base == "uuid" or (base == "text" and "id" in words(parameter.name)):
        keys = _keys(base, tables, rows)
        mixed = [people[0], *keys[:1], people[1], *keys[1:]]
        found = [*people, *found, *keys] if _USER.search(plain) else [*found, *mixed]
    elif base in ("integer", "bigint") and (
        not parameter.name or "id" in words(parameter.name) or not _telling(parameter.name)
    ):
        found += _keys(base, tables, rows)
    found += _usual(parameter, base, plain)
    unique = list(dict.fromkeys(found))[:_EACH]
    if array:
        return ["{" + ",".join(f'"{value}"' for value in unique[:1]) + "}"] if unique else ["{}"]
    return list(unique) or [None]


def _by_name(
    parameter: Parameter, base: str, tables: Sequence[Table], rows: Mapping[str, Row]
) -> Iterator[str]:
    for table in tables:
        row = rows.get(table.name, {})
        naming = {c for u in table.uniques for c in u.columns} | {
            c for k in table.foreign_keys for c in k.columns
        }
        for column in table.columns:
            value = row.get(column.name)
            if value is None or column.base != base or (base in _NUMBERS and column.name not in naming):
                continue  # a number that names no row would change nothing
            if _fits(parameter, table, column.name):
                yield value


def _fits(parameter: Parameter, table: Table, column: str) -> bool:
    """``p_order_id`` is a column of that name, or the key of a table of orders; ``id`` the key of any."""
    wanted, there = words(parameter.name), words(column)
    if wanted == there or _telling(parameter.name) == _telling(column) != ():
        return True
    telling = _telling(parameter.name)
    if not telling:
        return table.key == (column,) and "id" in wanted
    kind = words(parts(table.name)[-1])
    return column in table.key and bool(kind) and _singular(kind[-1]) == _singular(telling[-1])


def _singular(word: str) -> str:
    return (
        re.sub(r"ies$", "y", word) if word.endswith("ies") else re.sub(r"(?<=ss|sh|ch)es$|(?<!s)s$", "", word)
    )


def _keys(base: str, tables: Sequence[Table], rows: Mapping[str, Row]) -> list[str]:
    """Keys of the stranger's rows, then what those refer to."""
    keys = [rows.get(t.name, {}).get(c) for t in tables for c in t.key if t.column(c).base == base]
    beyond = [
        rows.get(t.name, {}).get(c)
        for t in tables
        for key in t.foreign_keys
        for c in key.columns
        if t.column(c).base == base
    ]
    return [value for value in (*keys, *beyond) if value is not None]


def _usual(parameter: Parameter, base: str, plain: str) -> Iterator[str]:
    """Values without anybody in particular, which let a function run."""
    if parameter.kind == "e":
        yield from dict.fromkeys((*parameter.labels[-1:], *parameter.labels[:1]))
    elif base in _TEXTS:
        yield from ("", "%")
    elif base in _NUMBERS:
        yield (
            "100" if _SIZE.search(plain) else "0" if _START.search(plain) else "1" if "page" in plain else "3"
        )
    elif base == "boolean":
        yield from ("true", "false")
    elif base == "date" or base.startswith("timestamp"):
        yield (
            "2100-01-01" if re.search(r"(^|_)(to|until|end|before|till|ends?)(_|$)", plain) else "1900-01-01"
        )
    elif base in ("json", "jsonb"):
        yield "{}"
    elif base == "interval":
        yield "1 day"

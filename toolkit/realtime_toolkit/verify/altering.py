"""Other values for a column, as SQL that changes the row it stands in for real, each time it is run. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

from realtime_toolkit.verify.seeding import literal
from realtime_toolkit.verify.values import guesses

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime_toolkit.verify.seeding import Row
    from realtime_toolkit.verify.tables import Column, Table

_TEXTS = ("text", "character varying", "character", "citext")
_NUMBERS = ("smallint", "integer", "bigint", "numeric", "real", "double precision")
_MOST = 4


@dataclass(frozen=True, slots=True, eq=False)
class Alteration:
    """Two values for a column, to be set in turn."""

    column: str
    values: tuple[sql.Composable, sql.Composable]
    steady: bool
    """It grows a little, and takes the row into no other state: a number, a text."""


def alterations(table: Table, column: Column, row: Row) -> Iterator[Alteration]:
    """How to change the column: relative to what is there first, then by values that its constraints speak of."""
    base = column.base.rsplit(".", 1)[-1]
    grown = _GROWN.get(base)
    if grown is not None:
        value = sql.SQL(grown).format(sql.Identifier(column.name))
        yield Alteration(column.name, (value, value), steady=base in (*_TEXTS, *_NUMBERS))
    named = [*column.labels]
    for check in table.checks:
        if check.columns == (column.name,):
            named += [made[column.name] for made in guesses(check, (column,))]
    others = [value for value in dict.fromkeys(named) if value != row.get(column.name)][:_MOST]
    for one, other in zip(others, [*others, row.get(column.name)][1:], strict=True):
        pair = literal(table, column.name, one), literal(table, column.name, other)
        yield Alteration(column.name, pair, steady=False)


_GROWN = {
    "boolean": "not coalesce({0}, false)",
    **dict.fromkeys(_TEXTS, "coalesce({0}, '') || '.'"),
    "character varying": "overlay(coalesce({0}, 'x') placing chr(97 + (ascii({0} || 'x') + 1) % 26) from 1 for 1)",
    "character": "chr(97 + (ascii({0} || 'x') + 1) % 26)",
    **dict.fromkeys(_NUMBERS, "coalesce({0}, 0) + 1"),
    "date": "coalesce({0}, '2026-01-01') + 1",
    **dict.fromkeys(
        ("timestamp with time zone", "timestamp without time zone"),
        "coalesce({0}, '2026-01-01') + interval '1 minute'",
    ),
    "interval": "coalesce({0}, '1 hour') + interval '1 minute'",
    "uuid": "gen_random_uuid()",
    "jsonb": "jsonb_build_object('probe', gen_random_uuid())",
    "json": "json_build_object('probe', gen_random_uuid())",
    "bytea": "coalesce({0}, '') || '\\x00'",
    "text[]": "coalesce({0}, '{{}}') || array['probe']",
}
"""By the type under domains; a trigger may fire for real changes only."""

_FAR, _EPOCH = "2100-01-01T00:00:00Z", 4_102_444_800
_JSON_KEYS = r"(?:\s*->>?\s*'[^']*')+"


def far_values(table: Table, column: Column, texts: str) -> Iterator[sql.Composable]:
    """A time far ahead, as this column could hold it: also inside of a document, where triggers look into it."""
    base = column.base.rsplit(".", 1)[-1]
    found: Sequence[str] = ()
    if base.startswith("timestamp") or base == "date":
        found = (_FAR,)
    elif base in ("text", "character varying", "citext"):
        found = (_FAR, str(_EPOCH))
    elif base in ("bigint", "numeric", "double precision"):
        found = (str(_EPOCH), str(_EPOCH * 1000))
    elif base in ("json", "jsonb"):
        found = [
            json.dumps(_document(path, value)) for path in _paths(column, texts) for value in (_FAR, _EPOCH)
        ]
    for value in found:
        yield literal(table, column.name, value)


def _paths(column: Column, texts: str) -> list[list[str]]:
    looks = re.findall(rf'\b{re.escape(column.name)}"?({_JSON_KEYS})', texts, re.IGNORECASE)
    return [re.findall(r"'([^']*)'", look) for look in looks][:_MOST]


def _document(path: Sequence[str], value: object) -> object:
    for key in reversed(path):
        value = {key: value}
    return value

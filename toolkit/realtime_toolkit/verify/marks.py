"""Marks in a stranger's rows, by which they are known again wherever they come back."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from realtime_toolkit.verify.seeding import Who, equals, literal, relation
from realtime_toolkit.verify.tables import USERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from realtime_toolkit.verify.ownership import Belonging
    from realtime_toolkit.verify.seeding import Row, World
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Column, Table

_PUBLIC_NAME = re.compile(
    r"^(id|user_?id|user_?name|handle|slug|nick_?(name)?|(display|full|first|last|given|family|screen)_?name|name|bio"
    r"|(avatar|image|picture|photo|banner).*)$",
    re.IGNORECASE,
)
"""What a profile is made to show."""
_STATE = re.compile(
    r"(^|_)(role|status|state|kind|type|plan|tier|level|visibility|scope|provider|currency|country|lang(uage)?|locale"
    r"|time_?zone|version|attempts?|position)$",
    re.IGNORECASE,
)
"""Another value here would change what functions do."""
_BORN = re.compile(r"birth|born|(^|_)dob(_|$)", re.IGNORECASE)
_COUNTER = re.compile(
    r"(^|_)(counts?|counter|views?|hits?|clicks?|plays?|downloads?|likes?|upvotes?|downvotes?|votes?|shares?|impressions?|reads?|opens?|uses"
    r"|usage|visits?|reactions?)(_|$)",
    re.IGNORECASE,
)
_TEXTS = frozenset({"text", "character varying", "citext", "extensions.citext", "public.citext"})
_NUMBERS = frozenset({"integer", "bigint", "numeric", "real", "double precision"})
_FIRST = 7_345_000


@dataclass(frozen=True, slots=True)
class Mark:
    column: str
    text: str

    def is_in(self, text: str) -> bool:
        """As a word of its own: a number is not looked for inside of another."""
        return re.search(rf"(?<![\w.-]){re.escape(self.text)}(?:\.0+)?(?![\w-])", text) is not None


@dataclass(slots=True)
class Marks:
    values: dict[tuple[str, str], str] = field(default_factory=dict)
    """(table, column) → what stands there now in the stranger's row."""

    def row(self, table: Table, world: World) -> Row:
        """The stranger's row as it is now; of a table without owners, the one that is there."""
        seeded = world.rows.get((table.name, Who.MALLORY)) or world.rows.get((table.name, Who.ALICE), {})
        return {**seeded, **{c: v for (name, c), v in self.values.items() if name == table.name}}

    def of(self, table: Table, world: World, belonging: Belonging, *, many: bool) -> Iterator[Mark]:
        """What tells that a row is the stranger's; keys alone only where ``many`` facts come back."""
        if (table.name, Who.MALLORY) not in world.rows or table.name not in belonging.owned:
            return
        shown = _is_profile(table, belonging)
        others = [world.rows.get((table.name, who), {}) for who in (Who.ALICE, Who.BOB)]
        for column in table.columns:
            value = self.row(table, world).get(column.name)
            if value is None or (shown and _PUBLIC_NAME.search(column.name)):
                continue
            if (table.name, column.name) in self.values or (
                _is_telling(column, value, belonging.users.get(table.name, frozenset()), table, many=many)
                and all(row.get(column.name) != value for row in others)
            ):
                yield Mark(column.name, _word(value))


def _word(value: str) -> str:
    """What of a JSON value is looked for: its text is written anew on the way."""
    return re.sub(r'^\{"mark": "(mark\d+)"\}$', r"\1", value)


def _is_telling(column: Column, value: str, users: frozenset[str], table: Table, *, many: bool) -> bool:
    if column.base in _TEXTS:
        return len(value) >= 6 and column.default is None
    return column.base == "uuid" and many and column.name in table.key and column.name not in users


def _is_profile(table: Table, belonging: Belonging) -> bool:
    """One row a user, keyed by the user."""
    users = belonging.users.get(table.name, frozenset())
    by_user = {c for key in table.foreign_keys if key.target == USERS for c in key.columns}
    return len(table.key) == 1 and table.key[0] in users | by_user


def email_of(who: Who) -> str:
    return f"{who.value}@probe.invalid"


def put_marks(connection: Connection, tables: Iterable[Table], belonging: Belonging, world: World) -> Marks:
    """Write marks wherever the stranger's rows take them."""
    marks = Marks()
    for number, table in enumerate(tables):
        row = world.rows.get((table.name, Who.MALLORY))
        if row is None or table.name not in belonging.owned or not table.key:
            continue
        wanted = dict(_wanted(table, belonging, 100 * number))
        if wanted and _written(connection, table, row, wanted):
            marks.values |= {(table.name, c): v for c, v in wanted.items()}
            continue
        for column, value in wanted.items():
            if _written(connection, table, row, {column: value}):
                marks.values[table.name, column] = value
    return marks


def _wanted(table: Table, belonging: Belonging, start: int) -> Iterator[tuple[str, str]]:
    held = {*table.key, *table.partition_key, *(c for key in table.foreign_keys for c in key.columns)}
    held |= belonging.users.get(table.name, frozenset()) | belonging.tenants.get(table.name, frozenset())
    for number, column in enumerate(table.columns, start + 1):
        if column.name in held or column.generated or _STATE.search(column.name):
            continue
        value = _mark(column, number)
        if value is not None:
            yield column.name, value


def _mark(column: Column, number: int) -> str | None:
    if column.base in _TEXTS and column.default in (None, "''::text"):
        text = f"mark{_FIRST + number}"
        return text if column.length is None or len(text) <= column.length else None
    if column.base in _NUMBERS:
        return str(_FIRST + number)
    if column.base == "date" and _BORN.search(column.name):
        return (date(1907, 1, 1) + timedelta(days=number)).isoformat()
    if column.base in ("json", "jsonb") and column.default is None:
        return f'{{"mark": "mark{_FIRST + number}"}}'
    return None


def _written(connection: Connection, table: Table, row: Row, values: Mapping[str, str]) -> bool:
    change = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(c), literal(table, c, v)) for c, v in values.items()
    )
    where = sql.SQL(" and ").join(equals(table, c, row[c]) for c in table.key)
    query = sql.SQL("update {} set {} where {}").format(relation(table), change, where)
    try:
        with connection.transaction():
            return connection.execute(query).rowcount == 1
    except psycopg.Error:
        return False


def is_counted(column: str, before: Any, after: Any) -> bool:
    """A counter that anybody may move by one: views, likes."""
    numbers = isinstance(before, int) and isinstance(after, int)
    return numbers and abs(after - before) == 1 and _COUNTER.search(column) is not None

"""One thing in two spellings, compared as it stands: a user's id in capitals, an e-mail address as somebody typed it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from realtime_toolkit.verify.folding import comparisons, unwrapped
from realtime_toolkit.verify.missed import Unlike
from realtime_toolkit.verify.names import NAME, mentioned, plain
from realtime_toolkit.verify.probing import Answer, attempt, sqlstate_of, undone
from realtime_toolkit.verify.seeding import PEOPLE, Who, insert_statement, relation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime_toolkit.verify.probing import Statement
    from realtime_toolkit.verify.reading import Reading
    from realtime_toolkit.verify.seeding import Row
    from realtime_toolkit.verify.tables import Check, Column, Table

_TEXTS = ("text", "character varying")
_EMAIL = r"(?:auth\.jwt\(\)[\s)]*(?:AS\s+\w+\s*\))?\s*->>\s*'email'(?:::text)?|auth\.email\(\))"
_BEFORE = re.compile(rf"({NAME})\)*(?:::text)?\)*\s*=\s*[\s(]*(?:select[\s(]*)?{_EMAIL}", re.IGNORECASE)
_AFTER = re.compile(
    rf"{_EMAIL}[\s)]*(?:AS\s+\w+\s*\)+\s*)?(?:::text)?\s*=\s*\(*(?:{NAME}\.)?({NAME})", re.IGNORECASE
)


def unlike(reading: Reading, tables: Sequence[Table]) -> Iterator[Unlike]:
    for table in tables:
        if table.rls and reading.readers(table):
            yield from _ids(reading, table)
            yield from _addresses(reading, table)
            yield from _quoted(reading, table)
            yield from _lists(reading, table)


def _ids(reading: Reading, table: Table) -> Iterator[Unlike]:
    """Texts compared with ``auth.uid()::text``, which is in small letters, that never hold it."""
    texts = reading.texts(table)
    for name in sorted(reading.stage.belonging.users.get(table.name, ())):
        column = table.column(name)
        changed = rf'\b(?:lower|upper)\(+"?{re.escape(name)}\b|\b{re.escape(name)}"?\)*::uuid'
        if column.base not in _TEXTS or not mentioned(name, texts) or re.search(changed, texts):
            continue
        refusing = [
            check for check in table.checks if check.columns == (name,) and _refuses(reading, column, check)
        ]
        if refusing:
            yield Unlike(
                table.name,
                _guilty(reading, table, name),
                f"{table.name}.{name}",
                _REFUSED.format(refusing[0].name),
            )
        elif _is_rewritten(reading, table, name):
            yield Unlike(table.name, _guilty(reading, table, name), f"{table.name}.{name}", _REWRITTEN)


_REFUSED = "the constraint {} refuses every user's id as auth.uid() has it"
_REWRITTEN = "a trigger writes it in another case than auth.uid() has it"
_TYPED = "a client may write the address as somebody typed it, and the one in the token is in small letters"


def _refuses(reading: Reading, column: Column, check: Check) -> bool:
    """Whether this CHECK takes none of the users' ids."""
    condition = check.definition.removeprefix("CHECK ").removesuffix(" NOT VALID")
    query = sql.SQL("select bool_or({}) from (values {}) as v ({})").format(
        sql.SQL(condition),
        sql.SQL(", ").join(
            sql.SQL("({}::{})").format(sql.Literal(who.user_id), sql.SQL(column.type)) for who in PEOPLE
        ),
        sql.Identifier(column.name),
    )
    connection = reading.stage.connection
    with undone(connection):
        try:
            row = connection.execute(query).fetchone()
        except psycopg.Error as error:
            sqlstate_of(error)
            return False
    return row is not None and row[0] is False


def _is_rewritten(reading: Reading, table: Table, column: str) -> bool:
    world = reading.stage.seeder.world
    given = world.given.get((table.name, Who.ALICE), {}).get(column)
    made = world.rows.get((table.name, Who.ALICE), {}).get(column)
    return bool(given and made) and given != made and str(given).lower() == str(made).lower()


def _addresses(reading: Reading, table: Table) -> Iterator[Unlike]:
    texts = reading.texts(table)
    names = {plain(name) for name in (*_BEFORE.findall(texts), *_AFTER.findall(texts))}
    for other in (table, *reading.asked(table)):
        for column in other.columns:
            if column.name in names and _is_told_apart(reading, table, other, column):
                place = f"{other.name}.{column.name}"
                yield Unlike(table.name, _guilty(reading, table, column.name), place, _TYPED)


def _is_told_apart(reading: Reading, table: Table, other: Table, column: Column) -> bool:
    text = column.base in _TEXTS and not column.generated
    return (
        text and _is_lost(reading, table, other, column.name) and _may_be_typed(reading, other, column.name)
    )


_ADDRESS = "alice@probe.invalid"
_AS_TYPED = "Alice@Probe.invalid"


def _is_lost(reading: Reading, table: Table, other: Table, column: str) -> bool:
    """Whether Alice sees Mallory's row by her address, and not by the same one in capitals."""
    person, look = reading.stage.access.actors["authenticated"], reading.look(table, Who.MALLORY)
    hers, typed = (reading.write(other, Who.MALLORY, column, value) for value in (_ADDRESS, _AS_TYPED))
    if look is None or hers is None or typed is None:
        return False
    seen, unseen = (reading.sees(person, look, (step,)) for step in (hers, typed))
    return seen.answer is Answer.ALLOW and unseen.answer is Answer.DENY and not unseen.sqlstate


def _may_be_typed(reading: Reading, table: Table, column: str) -> bool:
    """Whether Mallory herself may write an address like that, in a row of hers or in a new one."""
    stage, person = reading.stage, reading.stage.person(Who.MALLORY)
    change = reading.write(table, Who.MALLORY, column, _AS_TYPED)
    given = {**stage.seeder.world.given.get((table.name, Who.MALLORY), {}), column: _AS_TYPED}
    tried = (change, insert_statement(table, given))
    return any(
        attempt(stage.connection, person, each).answer is Answer.ALLOW for each in tried if each is not None
    )


def _quoted(reading: Reading, table: Table) -> Iterator[Unlike]:
    """``claims -> 'team'`` is JSON: its text has the string's quotes, which no column and no bare word has."""
    for policy in reading.policies(table):
        for sides in comparisons(unwrapped(policy.using or "")):
            for one, other in (sides, sides[::-1]):
                key = _JSON_TEXT.fullmatch(one)
                if key is not None and not _is_json(table, other):
                    yield Unlike(table.name, (policy.name,), f"(… -> '{key[1]}')::text", _QUOTES)


_JSON_TEXT = re.compile(
    r"\(+(?:auth\.jwt\(\)|[\w\"]+)(?: -> '[^']*'::text\))*? -> '([^']*)'::text\)+::text\)*"
)
_LITERAL = re.compile(r"'([^']*)'(?:::\w+)?")
_QUOTES = "the text of a JSON string keeps its quotes: ->> gives it without"


def _is_json(table: Table, side: str) -> bool:
    """A literal that is JSON as it stands, or a number's or flag's column as text."""
    told = _LITERAL.fullmatch(side.strip("()"))
    if told is not None:
        return re.match(r'["\[{\d-]|(true|false|null)$', told[1]) is not None
    named = [c for c in table.columns if mentioned(c.name, side)]
    return not named or any(c.base not in (*_TEXTS, "uuid") for c in named)


def _lists(reading: Reading, table: Table) -> Iterator[Unlike]:
    """Names that a trigger gathers into one text, and a policy takes apart another way: one is found, of two the first only."""
    texts = reading.texts(table)
    gathered = [
        c
        for c in table.columns
        if c.base in _TEXTS and mentioned(c.name, texts) and "string_to_array" in texts
    ]
    for other in reading.stage.model.tables.values() if gathered else ():
        if any(key.target == table.name for key in other.foreign_keys):
            for name in sorted(reading.stage.belonging.users.get(other.name, ())):
                if _is_found_alone(reading, table, other, name):
                    place = f"{table.name}.{gathered[0].name}"
                    yield Unlike(table.name, _guilty(reading, table, gathered[0].name), place, _SEPARATED)


_SEPARATED = "a trigger joins the names in it with another separator than the policy splits by"


def _is_found_alone(reading: Reading, table: Table, other: Table, column: str) -> bool:
    """Whether Alice and Bob each see Mallory's row once they are the only one named, and not both of them together."""
    stage, look = reading.stage, reading.look(table, Who.MALLORY)
    row, given = (
        rows.get((other.name, Who.MALLORY)) for rows in (stage.seeder.world.rows, stage.seeder.world.given)
    )
    if look is None or row is None or given is None:
        return False
    people = {who: stage.person(who) for who in (Who.ALICE, Who.BOB)}
    added = {who: insert_statement(other, {**given, column: who.user_id}) for who in people}
    removed = _removal(reading, other, row)
    alone = all(
        reading.sees(p, look, (removed, added[who])).answer is Answer.ALLOW for who, p in people.items()
    )
    together = (removed, *added.values())
    return alone and any(reading.sees(p, look, together).answer is Answer.DENY for p in people.values())


def _removal(reading: Reading, table: Table, row: Row) -> Statement:
    return sql.SQL("delete from {} where {}").format(relation(table), reading.stage.access.where(table, row))


def _guilty(reading: Reading, table: Table, column: str) -> tuple[str, ...]:
    those = [p for p in reading.policies(table) if mentioned(column, p.using or "")]
    return tuple(p.name for p in those or reading.policies(table) if p.permissive)

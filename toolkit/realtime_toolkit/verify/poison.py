"""Values and tokens that make a policy raise: junk is written as the server could, and read; tokens lack what is cast.

One raising policy loses Realtime's whole poll batch, so one row or one listener of that kind silences the table for everybody.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from realtime_toolkit.verify.missed import Poison
from realtime_toolkit.verify.names import mentioned
from realtime_toolkit.verify.probing import Actor
from realtime_toolkit.verify.reading import CLIENTS
from realtime_toolkit.verify.seeding import Who
from realtime_toolkit.verify.values import literals

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realtime_toolkit.verify.reading import Reading
    from realtime_toolkit.verify.tables import Column, Table

_TEXTS = frozenset({"text", "character varying", "citext", "extensions.citext", "public.citext"})
_NUMBERS = frozenset({"smallint", "integer", "bigint", "numeric", "real", "double precision"})
_LISTS = frozenset({"text[]", "character varying[]"})
_NEWCOMER = "0b5f3a52-7c1e-4a4d-8f0e-6a6f1d2c9e11"
_STEP = re.compile(r"->>?\s*'(\w+)'")
_STEPS = re.compile(r"(?:->>?\s*'\w+'(?:::text)?[\s)]*)+")
_ENUM_CLAIM = re.compile(
    r"(?:auth\.jwt\(\)|'request\.jwt\.claims')[^;]{0,60}?((?:->>?\s*'\w+'(?:::text)?[\s)]*)+)::\s*([\w.\"]+)",
    re.I,
)
_MOST = 40


def poison(reading: Reading, tables: Sequence[Table]) -> Iterator[Poison]:
    """The first value that raises, by column; and the first token."""
    for table in tables:
        if table.rls and reading.readers(table):
            yield from _by_values(reading, table)
            yield from _by_tokens(reading, table)


def _by_values(reading: Reading, table: Table) -> Iterator[Poison]:
    texts = reading.texts(table)
    for other in (table, *(t for t in reading.asked(table) if mentioned(t.name.rsplit(".", 1)[-1], texts))):
        for column in other.columns:
            if not column.generated and mentioned(column.name, texts):
                yield from _by_value(reading, table, other, column)


def _by_value(reading: Reading, table: Table, other: Table, column: Column) -> Iterator[Poison]:
    for value in _junk(column, reading.texts(table)):
        found: dict[str, list[str]] = {}
        for who in (Who.ALICE, Who.MALLORY):
            step = reading.write(other, who, column.name, value)
            for role in reading.readers(table) if step is not None else ():
                sqlstate = _raised(reading, table, reading.stage.access.actors[role], who, (step,))
                if sqlstate and role not in found.setdefault(sqlstate, []):
                    found[sqlstate].append(role)
        for sqlstate, roles in found.items():
            place = f"{other.name}.{column.name}"
            yield Poison(
                table.name, _guilty(reading, table, column.name), sqlstate, place, value, tuple(roles)
            )
            return


def _junk(column: Column, texts: str) -> list[str]:
    if column.base in _TEXTS:
        told = [text for text in literals(texts) if text.endswith(("%", "/", ":", "-", "_", "."))]
        made = [
            "probe",
            "",
            *(f"{text.rstrip('%')}probe" for text in told),
            "probe/probe/probe",
            "probe:probe:probe",
        ]
        return [text for text in dict.fromkeys(made) if column.length is None or len(text) <= column.length]
    if column.base in ("json", "jsonb"):
        paths = dict.fromkeys(tuple(_STEP.findall(steps)) for steps in _STEPS.findall(texts))
        return [
            *(json.dumps(_at(path, "probe")) for path in list(paths)[:_MOST]),
            "{}",
            '"probe"',
            "[]",
            "[1]",
        ]
    if column.base in _LISTS:
        return ["{}", "{probe}"]
    if column.base in _NUMBERS and re.search(r"[/%]|\bdiv\(|\bmod\(", texts):
        return ["0"]
    return []


def _at(path: Sequence[str], value: object) -> object:
    for step in reversed(path):
        value = {step: value}
    return value


def _by_tokens(reading: Reading, table: Table) -> Iterator[Poison]:
    if "authenticated" not in reading.readers(table):
        return
    ordinary = reading.stage.access.actors["authenticated"]
    newcomer = replace(
        ordinary,
        claims={
            **{name: value for name, value in ordinary.claims.items() if name in _OF_EVERYBODY},
            "sub": _NEWCOMER,
            "email": "new@probe.invalid",
            "app_metadata": {"provider": "email"},
            "user_metadata": {},
        },
    )
    tokens = {"a token without the claim": newcomer}
    for path in _enum_claims(reading, reading.texts(table)):
        shown = " ".join(path)
        tokens[f"a token whose {shown} is no label of the type"] = Actor(
            newcomer.role, {**newcomer.claims, **_claims(path)}
        )
    for what, token in tokens.items():
        states = (_raised(reading, table, token, who, ()) for who in (Who.ALICE, Who.MALLORY))
        sqlstate = next(filter(None, states), "")
        if sqlstate:
            names = tuple(p.name for p in reading.policies(table))
            yield Poison(table.name, names, sqlstate, None, what, ("authenticated",))
            return


_OF_EVERYBODY = frozenset({"role", "aud", "aal", "is_anonymous", "iss", "exp", "iat", "amr", "session_id"})


def _claims(path: Sequence[str]) -> dict[str, object]:
    made = _at(path, "probe")
    assert isinstance(made, dict)
    return {"app_metadata": {}, "user_metadata": {}, **made}


def _enum_claims(reading: Reading, texts: str) -> list[tuple[str, ...]]:
    """Claims that a user writes and a policy casts to an enum; what the server puts into a token is of the type."""
    enums = {
        name
        for row in reading.stage.connection.execute(
            "select t.typname::text, pg_catalog.format_type(t.oid, null), n.nspname || '.' || t.typname "
            "from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace where t.typtype = 'e'"
        ).fetchall()
        for name in row
    }
    return [
        tuple(_STEP.findall(match[1]))
        for match in _ENUM_CLAIM.finditer(texts)
        if match[2].strip('"') in enums and "user_metadata" in match[1]
    ]


def _raised(reading: Reading, table: Table, person: Actor, who: Who, before: Sequence[object]) -> str:
    """The SQLSTATE of a data exception while that person's row is read; empty where there is none."""
    look = reading.look(table, who)
    if look is None or person.role not in CLIENTS:
        return ""
    result = reading.sees(person, look, before)  # type: ignore[arg-type]
    return result.sqlstate if result.sqlstate.startswith("22") else ""


def _guilty(reading: Reading, table: Table, column: str) -> tuple[str, ...]:
    those = [p for p in reading.policies(table) if mentioned(column, p.using or "")]
    return tuple(p.name for p in those or reading.policies(table))

"""Secrets that stand as values in rows that everybody reads: settings by name, keys by their beginning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from realtime_toolkit.shown import shown
from realtime_toolkit.verify.model import CheckResult, Finding, Level, Outcome, Rule
from realtime_toolkit.verify.seeding import relation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Model, Table

COL004 = Rule(
    "COL004",
    "columns",
    "A row that everybody reads holds a secret",
    "A table of settings is public for the sake of some of them; a key of a service among them is public, too.",
)
_NAME = (
    r"(^|[_.\-: ])(secret|api[_-]?key|private[_-]?key|service[_-]?role|password|passwd|smtp[_-]?pass|(access|refresh|auth|bot)[_-]?token"
    r"|signing[_-]?key|webhook[_-]?secret|client[_-]?secret)([_.\-: ]|$)"
)
_VALUE = (
    r"^(sk|rk)_(live|test)_|^sk-[A-Za-z0-9]|^whsec_|^gh[pousr]_|^github_pat_|^xox[abprs]-|^(AKIA|ASIA)[0-9A-Z]{16}|^AIza[0-9A-Za-z_-]{30}"
    r"|^SG\.[\w-]{16}|^sb_secret_|-----BEGIN [A-Z ]*PRIVATE KEY|^postgres(ql)?://[^:/ ]+:[^@ ]+@"
)
_PUBLIC = r"(^|[_.\-: ])(public|publishable|anon|pub|length|policy|rules?|hint|min|max|enabled|required|url)([_.\-: ]|$)"
"""Of what the name says that it is no secret: ``password_min_length``, ``password_reset_url``."""
_TEXTS = ("text", "character varying", "citext", "extensions.citext", "public.citext", "json", "jsonb")
_NAMES = ("key", "name", "setting", "setting_key", "setting_name", "config_key", "code", "slug", "id")
_MOST = 1000


def find_disclosed(connection: Connection, model: Model) -> tuple[str, ...]:
    """Tables that a client role reads whoever asks, of whose first thousand rows one holds a secret."""
    return tuple(
        table.name
        for table in model.tables.values()
        if table.rls and table.public_read and not table.partitions and _holds_one(connection, table)
    )


def _holds_one(connection: Connection, table: Table) -> bool:
    asked = list(_conditions(table))
    if not asked:
        return False
    query = sql.SQL("select exists (select from (select * from {} limit {}) as t where {})").format(
        relation(table), sql.Literal(_MOST), sql.SQL(" or ").join(asked)
    )
    try:
        with connection.transaction():
            found = connection.execute(query).fetchone()
    except psycopg.Error as error:
        if error.sqlstate is None:
            raise
        return False
    return found is not None and bool(found[0])


def _conditions(table: Table) -> Iterator[sql.Composable]:
    texts = [column for column in table.columns if column.base in _TEXTS]
    for column in texts:
        if column.default not in (None, "''::text"):
            continue  # a row that was seeded has it, too; what such a column is called tells COL002
        value = sql.SQL("pg_catalog.btrim(t.{}::text, {})").format(
            sql.Identifier(column.name), sql.Literal('"')
        )
        yield sql.SQL("{} ~ {}").format(value, sql.Literal(_VALUE))
    named = next((column for column in texts if column.name.lower() in _NAMES), None)
    others = [
        column
        for column in texts
        if column is not named and column.name.lower() in ("value", "val", "setting_value", "config_value")
    ]
    if named is not None:
        for other in others:
            yield sql.SQL(
                "(t.{0} ~* {2} and t.{0} !~* {3} and pg_catalog.btrim(t.{1}::text, {4}) not in ({5}, {6}))"
            ).format(
                sql.Identifier(named.name),
                sql.Identifier(other.name),
                *map(sql.Literal, (_NAME, _PUBLIC, '" ', "", "null")),
            )


def judge_disclosed(model_tables: tuple[str, ...]) -> CheckResult:
    found = tuple(_finding(name) for name in model_tables)
    return CheckResult(COL004, Outcome.FAIL if found else Outcome.PASS, found)


def _finding(name: str) -> Finding:
    return Finding.of(
        COL004.code,
        Level.ERROR,
        name,
        f"{shown(name)} is open to everybody, and one of its rows holds what looks like a secret: a key, a token or a password.",
        f"-- move it out of {name} into a table without policies (or the vault), and change it: it has been public",
        f"{COL004.code} {name}",
    )

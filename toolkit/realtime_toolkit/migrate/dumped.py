"""What a dump of a project holds that the next database does not take: what is left out, and what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from realtime_toolkit.migrate.session import scalar
from realtime_toolkit.migrate.sqlsplit import significant

if TYPE_CHECKING:
    import psycopg

    from realtime_toolkit.migrate.session import Connection
    from realtime_toolkit.migrate.sqlsplit import Statement

_NEWER = {"transaction_timeout": 170000}
"""Settings that pg_dump writes, and the first server version that knows them."""

# Those of every project; only without tables, or what the statement publishes would be lost without a word.
_PUBLICATION = re.compile(
    r'create publication (?P<q>"?)(?P<name>supabase_realtime(?:_messages_publication)?)(?P=q)( with \( .* \))?'
)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a statement is left out, if ``query`` gives true."""

    text: str
    query: str
    args: tuple[Any, ...] = ()

    def holds(self, connection: Connection) -> bool:
        return scalar(connection, self.query, self.args) is True


def left_out(statement: Statement) -> Reason | None:
    """Why a statement may have nothing to do: a setting of a newer Postgres, a publication that is there."""
    if statement.head == "set":
        words = [word for word in statement.words[1:3] if word not in ("session", "local")]
        if words and words[0] in _NEWER:
            query = "select current_setting('server_version_num')::int < %s"
            return Reason(f"this Postgres has no {words[0]}", query, (_NEWER[words[0]],))
        if words and words[0] == "transaction":
            return Reason("SET TRANSACTION: the transaction is the runner's, and has begun", "select true")
    if statement.head == "create" and statement.two[1:] == ("publication",):
        match = _PUBLICATION.fullmatch(significant(statement.code))
        if match:
            query = "select exists (select from pg_catalog.pg_publication where pubname = %s)"
            return Reason(f"publication {match['name']} is there already", query, (match["name"],))
    return None


_ADVICE = (
    ("42P06", "create schema", "write CREATE SCHEMA IF NOT EXISTS, or leave it out: every project has it"),
    ("42710", "create publication", "every project has it: write ALTER PUBLICATION … ADD TABLE"),
    ("42710", "create role", "write it so that it may run again: DO $$ … if not exists … $$"),
    ("42501", "alter default privileges", "only that role itself may: leave it out"),
    ("42501", "comment on extension", "only the extension's owner may: leave it out"),
    ("42501", "alter", "only a superuser may: leave it out (pg_dump --no-owner writes none of it)"),
    ("42704", "set", "a setting of another version of Postgres: leave it out"),
)  # fmt: skip
_OWNER = re.compile(r"\bowner to\b")


def advice(statement: Statement, error: psycopg.Error) -> str | None:
    """What to do about a statement that dumps hold and no project takes."""
    text = significant(statement.code)
    for code, begin, words in _ADVICE:
        if error.sqlstate != code or not text.startswith(begin):
            continue
        if begin != "alter" or _OWNER.search(text):
            return words
    return _other_advice(error)


_TYPE = re.compile(r'type "([^".]+)" does not exist')


def _other_advice(error: psycopg.Error) -> str | None:
    message = error.diag.message_primary or ""
    missing = _TYPE.search(message)
    if error.sqlstate == "42704" and missing:
        return f"if an extension has it, name its schema: extensions.{missing[1]}"
    if error.sqlstate == "42601" and message.endswith('"\\"'):
        return "a backslash command is psql's: take it out"
    if error.sqlstate == "55P04":
        return "add the value in a migration before this one"
    return None

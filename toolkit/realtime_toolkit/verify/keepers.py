"""Which columns should tell the changes of a row, and which triggers and rules have a say in an UPDATE."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from realtime_toolkit.verify.probing import undone

if TYPE_CHECKING:
    from realtime_toolkit.verify.session import Connection
    from realtime_toolkit.verify.tables import Column, Table

_TIME = re.compile(r"(last_?)?(updated|modified|changed)_?(at|on|time|ts|date)", re.IGNORECASE)
"""As ``change_time`` of ``checks/_facts.sql`` has it."""
_VERSION = re.compile(
    r"((row|lock|record)_?)?(version|revision)(_?(no|number|num|count|counter))?|(row_?)?rev", re.IGNORECASE
)
_COUNTER = re.compile(r"\(?'?[01]'?\)?(::\w+)?")
"""A default from which somebody counts."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger or rule that has a say in an UPDATE."""

    name: str
    text: str
    """Its definition and the body of its function, without comments."""
    instead: bool
    """It can keep the update from being made: a row trigger BEFORE UPDATE, a rule INSTEAD."""


def kept_columns(table: Table, texts: str) -> tuple[Column, ...]:
    """Times and versions that should tell the changes of a row; not a version that is part of what the row says."""
    return tuple(c for c in table.columns if not c.generated and (is_time(c) or _is_version(table, c, texts)))


def is_time(column: Column) -> bool:
    return _TIME.fullmatch(column.name) is not None and column.base.startswith("timestamp")


def _is_version(table: Table, column: Column, texts: str) -> bool:
    named = _VERSION.fullmatch(column.name) is not None
    if not named or column.base not in ("smallint", "integer", "bigint"):
        return False
    return writes(texts, column.name) or _is_counter(table, column)


def _is_counter(table: Table, column: Column) -> bool:
    tied = {*table.key, *(name for unique in table.uniques for name in unique.columns)}
    tied |= {name for key in table.foreign_keys for name in key.columns}
    begins = column.default is not None and _COUNTER.fullmatch(column.default) is not None
    return begins and column.not_null and column.name not in tied


def writes(text: str, column: str) -> bool:
    return re.search(rf'\bnew\s*\.\s*"?{re.escape(column)}"?\s*:?=', text, re.IGNORECASE) is not None


_TRIGGERS = """
select c.oid::pg_catalog.regclass::text, g.tgname::text,
  pg_catalog.pg_get_triggerdef(g.oid) || E'\\n' || coalesce(f.prosrc, ''), g.tgtype::int & 3 = 3
from pg_catalog.pg_trigger g join pg_catalog.pg_class c on c.oid = g.tgrelid
join pg_catalog.pg_proc f on f.oid = g.tgfoid
where not g.tgisinternal and g.tgenabled in ('O', 'A') and g.tgtype::int & 16 = 16
union all
select c.oid::pg_catalog.regclass::text, r.rulename::text, pg_catalog.pg_get_ruledef(r.oid), r.is_instead
from pg_catalog.pg_rewrite r join pg_catalog.pg_class c on c.oid = r.ev_class
where r.ev_type = '2' and c.relkind in ('r', 'p') and r.ev_enabled in ('O', 'A')
order by 1, 2
"""
_MEANT = """
select exists (
    select from pg_catalog.pg_trigger g join pg_catalog.pg_proc f on f.oid = g.tgfoid
    where g.tgrelid = t.relid and not g.tgisinternal and g.tgenabled in ('O', 'A') and g.tgtype::int & (1 | 2 | 4) = (1 | 2 | 4)
      and f.prosrc ~* ('\\mnew\\s*\\.\\s*"?' || %(column)s || '"?\\s*:?='))
  or exists (
    select from unnest(array['anon', 'authenticated']) r
    where not has_table_privilege(r, t.relid, 'insert') and has_column_privilege(r, t.relid, %(column)s, 'insert'))
from (select %(table)s::pg_catalog.regclass::oid as relid) as t
"""
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)


def read_triggers(connection: Connection) -> dict[str, list[Trigger]]:
    found: dict[str, list[Trigger]] = defaultdict(list)
    with undone(connection):
        connection.execute("set local search_path = pg_catalog")  # names as the model has them
        for table, name, text, instead in connection.execute(_TRIGGERS.encode()).fetchall():
            found[table].append(Trigger(name, _COMMENT.sub(" ", text), instead))
    return found


def is_of_new_rows(connection: Connection, table: Table, column: Column) -> bool:
    """Whether somebody thought of what a new row has there: a trigger BEFORE INSERT writes it, or its INSERT is granted apart.

    A trigger BEFORE UPDATE beside a default is how most schemas are made, and new rows are left to the default.
    """
    row = connection.execute(_MEANT, {"table": table.name, "column": column.name}).fetchone()
    return row is not None and bool(row[0])

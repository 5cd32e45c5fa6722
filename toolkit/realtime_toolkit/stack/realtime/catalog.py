"""What the database says about a table: columns, types, key, RLS, and what each role may select."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from realtime_toolkit.stack.realtime.values import ColumnType

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from psycopg import AsyncConnection


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    number: int
    type_name: str
    """As in ``columns`` of a change: ``int4``, ``_text``."""
    sql_type: str
    """To cast to, without a modifier: ``integer``, ``text[]``, ``public.mood``."""
    type: ColumnType
    declared: str
    """The type with its modifier: ``numeric(10,2)``."""
    generated: str | None
    """The expression of a stored generated column."""


@dataclass(frozen=True, slots=True)
class Table:
    oid: int
    schema: str
    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    """Columns of the primary key, in table order; empty if there is none."""
    rls: bool
    selectable: dict[str, frozenset[str]]
    """Role → the columns it may select. Roles that do not exist are missing."""
    qualified: str
    """Quoted ``schema.table``."""
    owner: str

    @property
    def is_generated(self) -> bool:
        """Whether any of its columns is."""
        return any(column.generated is not None for column in self.columns)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


_TABLES = """
select c.oid::int8, n.nspname, c.relname, c.relrowsecurity, format('%%I.%%I', n.nspname, c.relname),
  pg_get_userbyid(c.relowner),
  (select json_agg(json_build_array(
      a.attname, a.attnum, t.typname, a.atttypid::regtype::text, t.oid::int8, b.oid::int8, b.typtype,
      e.oid::int8, eb.oid::int8, eb.typtype, coalesce(eb.typcategory = 'A', false),
      format_type(a.atttypid, a.atttypmod), pg_get_expr(g.adbin, g.adrelid)
    ) order by a.attnum)
   from pg_catalog.pg_attribute a
   join pg_catalog.pg_type t on t.oid = a.atttypid
   cross join lateral (
     with recursive base (oid, typtype, next) as (
       select t.oid, t.typtype, t.typbasetype
       union all
       select d.oid, d.typtype, d.typbasetype from base join pg_catalog.pg_type d on d.oid = base.next
       where base.typtype = 'd'
     ) select p.oid, p.typtype, p.typelem, p.typlen from base join pg_catalog.pg_type p on p.oid = base.oid
     where base.typtype <> 'd'
   ) b
   left join pg_catalog.pg_type e on e.oid = b.typelem and b.typlen = -1 and b.typelem <> 0
   left join lateral (
     with recursive base (oid, typtype, next) as (
       select e.oid, e.typtype, e.typbasetype where e.oid is not null
       union all
       select d.oid, d.typtype, d.typbasetype from base join pg_catalog.pg_type d on d.oid = base.next
       where base.typtype = 'd'
     ) select p.oid, p.typtype, p.typcategory from base join pg_catalog.pg_type p on p.oid = base.oid
     where base.typtype <> 'd'
   ) eb on true
   left join pg_catalog.pg_attrdef g on g.adrelid = c.oid and g.adnum = a.attnum and a.attgenerated = 's'
   where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped),
  (select coalesce(json_agg(a.attname order by a.attnum), '[]') from pg_catalog.pg_constraint k
   join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = any (k.conkey)
   where k.conrelid = c.oid and k.contype = 'p'),
  (select coalesce(json_object_agg(r.rolname, (
      select coalesce(json_agg(a.attname), '[]') from pg_catalog.pg_attribute a
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
        and has_column_privilege(r.oid, c.oid, a.attnum, 'select')
    )), '{}') from pg_catalog.pg_roles r where r.rolname = any (%s))
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.oid = any (%s)
"""


async def tables(
    connection: AsyncConnection[Any], oids: Collection[int], roles: Iterable[str]
) -> dict[int, Table]:
    """The tables with these oids that still exist, and what these roles may select of them."""
    cursor = await connection.execute(_TABLES, [list(roles), list(oids)])
    return {row[0]: _table(row) for row in await cursor.fetchall()}


def _table(row: tuple[Any, ...]) -> Table:
    oid, schema, name, rls, qualified, owner, columns, key, selectable = row
    return Table(
        oid=oid,
        schema=schema,
        name=name,
        columns=tuple(_column(parts) for parts in _json(columns) or ()),
        key=tuple(_json(key)),
        rls=rls,
        selectable={role: frozenset(names) for role, names in _json(selectable).items()},
        qualified=qualified,
        owner=owner,
    )


def _column(parts: list[Any]) -> Column:
    name, number, type_name, sql_type, oid, base, kind, element, element_base, element_kind, nested = parts[
        :11
    ]
    inner = None
    if element is not None and element_base is not None:
        deeper = ColumnType(0, 0, "b") if nested else None
        inner = ColumnType(element, element_base, element_kind, deeper)
    return Column(name, number, type_name, sql_type, ColumnType(oid, base, kind, inner), *parts[11:])


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value

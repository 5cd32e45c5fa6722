"""The publication that is streamed: a shadow of ``supabase_realtime`` without row filters and column lists.

The genuine server takes only table names and the insert/update/delete flags from the publication, and
decodes everything else itself; pgoutput would apply the filters. So the server keeps publications of its
own with the same tables. Tables without a replica identity go into one for inserts alone, so that they
can be updated as soon as they are no longer published.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from toolkit.stack.subscriptions import PUBLICATION

if TYPE_CHECKING:
    from psycopg import AsyncConnection

STREAM = "toolkit_realtime_stream"
STREAM_INSERTS = "toolkit_realtime_stream_inserts"
MESSAGES = "supabase_realtime_messages_publication"

_STATE = """
with recursive published as (
  select format('%I.%I', schemaname, tablename)::regclass as oid
  from pg_catalog.pg_publication_tables where pubname = 'supabase_realtime'
)
select
  (select json_build_array(pubinsert, pubupdate, pubdelete)
     from pg_catalog.pg_publication where pubname = 'supabase_realtime'),
  (select coalesce(json_agg(json_build_array(p.oid::oid::int8, p.oid::text,
      c.relreplident in ('f', 'i') or c.relreplident = 'd'
        and exists (select from pg_catalog.pg_index i where i.indrelid = p.oid and i.indisprimary)
    )), '[]') from published p join pg_catalog.pg_class c on c.oid = p.oid),
  (select coalesce(json_agg(json_build_array(p.pubname, p.pubinsert, p.pubupdate, p.pubdelete,
      (select coalesce(json_agg(r.prrelid::int8), '[]') from pg_catalog.pg_publication_rel r
       where r.prpubid = p.oid))), '[]')
   from pg_catalog.pg_publication p
   where p.pubname in ('toolkit_realtime_stream', 'toolkit_realtime_stream_inserts')),
  exists (select from pg_catalog.pg_event_trigger where evtname = 'toolkit_ddl_notice' and evtenabled <> 'D')
"""


@dataclass(frozen=True, slots=True)
class Published:
    """``oids`` of the published tables; ``announced``: changes of the catalogue are told in the WAL."""

    oids: frozenset[int]
    announced: bool


@dataclass(frozen=True, slots=True)
class _Shadow:
    flags: tuple[bool, bool, bool]
    oids: frozenset[int]


async def follow(connection: AsyncConnection[Any], *, look_only: bool = False) -> Published:
    """Make the shadow publications equal to ``supabase_realtime``; what is published. One query if they
    are. Raises :class:`psycopg.Error`, for one where the role does not own a table."""
    cursor = await connection.execute(_STATE.encode())
    row = await cursor.fetchone()
    assert row is not None
    flags, tables, shadows, announced = row
    flags = tuple(flags or (True, True, True))
    names = {oid: name for oid, name, _ in tables}
    known = {name: _Shadow((i, u, d), frozenset(oids)) for name, i, u, d, oids in shadows}
    wanted = {
        STREAM: _Shadow(flags, frozenset(oid for oid, _, identity in tables if identity)),
        STREAM_INSERTS: _Shadow(
            (flags[0], False, False), frozenset(oid for oid, _, identity in tables if not identity)
        ),
    }
    statements = [
        s for name, shadow in wanted.items() for s in _changes(name, known.get(name), shadow, names)
    ]
    if statements and not look_only:
        async with connection.transaction():
            await connection.execute("set local lock_timeout = '3s'")
            for statement in statements:
                await connection.execute(statement)
    return Published(frozenset(names), announced)


def _changes(name: str, has: _Shadow | None, wants: _Shadow, names: dict[int, str]) -> list[sql.Composed]:
    publication = sql.Identifier(name)
    publish = _publish(wants.flags)
    statements = []
    if has is None:
        statements.append(sql.SQL("create publication {} with (publish = {})").format(publication, publish))
        has = _Shadow(wants.flags, frozenset())
    if has.flags != wants.flags:
        statements.append(sql.SQL("alter publication {} set (publish = {})").format(publication, publish))
    if wants.oids and has.oids != wants.oids:
        tables = sql.SQL(", ").join(sql.SQL(names[oid]) for oid in sorted(wants.oids))
        statements.append(sql.SQL("alter publication {} set table {}").format(publication, tables))
    elif has.oids - wants.oids:
        statements.append(sql.SQL("drop publication {}").format(publication))
        statements.append(sql.SQL("create publication {} with (publish = {})").format(publication, publish))
    return statements


def _publish(flags: tuple[bool, bool, bool]) -> sql.Literal:
    names = ("insert", "update", "delete")
    return sql.Literal(", ".join(name for name, flag in zip(names, flags, strict=True) if flag))


__all__ = ["MESSAGES", "PUBLICATION", "STREAM", "STREAM_INSERTS", "Published", "follow"]

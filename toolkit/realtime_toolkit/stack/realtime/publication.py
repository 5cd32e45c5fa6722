"""The publication that is streamed: a shadow of ``supabase_realtime`` without row filters and column lists.

The genuine server takes only table names and the insert/update/delete flags from the publication, and
decodes everything else itself; pgoutput would apply the filters. So the server keeps publications of its
own with the same tables. Tables without a replica identity go into one for inserts alone, so that they
can be updated as soon as they are no longer published. A table that is taken out of the publication stays in
the shadow for a while, so that nothing of it is missed if it is put back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

from psycopg import sql

from realtime_toolkit.stack.realtime.subscriptions import PUBLICATION

if TYPE_CHECKING:
    from psycopg import AsyncConnection

STREAM = "toolkit_realtime_stream"
STREAM_INSERTS = "toolkit_realtime_stream_inserts"

_STATE = """
with published as (
  select format('%I.%I', schemaname, tablename)::regclass as oid
  from pg_catalog.pg_publication_tables where pubname = 'supabase_realtime'
), shadow as (
  select p.oid, p.pubname, p.pubinsert, p.pubupdate, p.pubdelete from pg_catalog.pg_publication p
  where p.pubname in ('toolkit_realtime_stream', 'toolkit_realtime_stream_inserts')
), known as (
  select oid, true as is_published from published
  union all
  select prrelid::regclass, false from pg_catalog.pg_publication_rel
  where prpubid in (select oid from shadow) and prrelid not in (select oid from published)
)
select
  (select json_build_array(pubinsert, pubupdate, pubdelete)
     from pg_catalog.pg_publication where pubname = 'supabase_realtime'),
  (select coalesce(json_agg(json_build_array(p.oid::oid::int8, p.oid::text,
      c.relreplident in ('f', 'i') or c.relreplident = 'd'
        and exists (select from pg_catalog.pg_index i where i.indrelid = p.oid and i.indisprimary),
      p.is_published)), '[]') from known p join pg_catalog.pg_class c on c.oid = p.oid),
  (select coalesce(json_agg(json_build_array(p.pubname, p.pubinsert, p.pubupdate, p.pubdelete,
      (select coalesce(json_agg(r.prrelid::int8), '[]') from pg_catalog.pg_publication_rel r
       where r.prpubid = p.oid))), '[]')
   from shadow p),
  exists (select from pg_catalog.pg_event_trigger where evtname = 'toolkit_ddl_notice' and evtenabled <> 'D')
"""


_Flags = tuple[bool, bool, bool]
"""Whether inserts, updates and deletes are published."""


@dataclass(frozen=True, slots=True)
class Published:
    """``oids`` of the published tables; ``announced``: changes of the catalogue are told in the WAL."""

    oids: frozenset[int]
    announced: bool


@dataclass(frozen=True, slots=True)
class _Shadow:
    flags: _Flags
    oids: frozenset[int]


async def follow(
    connection: AsyncConnection[Any], *, look_only: bool = False, keep: bool = False
) -> Published:
    """Make the shadow publications equal to ``supabase_realtime``; what is published. One query if they
    are. ``keep`` leaves in what is no longer published, ``look_only`` everything.
    Raises :class:`psycopg.Error`, for one where the role does not own a table."""
    cursor = await connection.execute(_STATE.encode())
    row = await cursor.fetchone()
    assert row is not None
    flags, tables, shadows, announced = row
    if not look_only:
        await _adjust(connection, tuple(flags or (True, True, True)), tables, shadows, keep=keep)
    published = frozenset(oid for oid, _, _, is_published in tables if is_published)
    return Published(published, announced)


async def _adjust(
    connection: AsyncConnection[Any], flags: _Flags, tables: list[Any], shadows: list[Any], *, keep: bool
) -> None:
    known = {name: _Shadow((i, u, d), frozenset(oids)) for name, i, u, d, oids in shadows}
    streamed = [(oid, identity) for oid, _, identity, is_published in tables if is_published or keep]
    identified = frozenset(oid for oid, identity in streamed if identity)
    others = frozenset(oid for oid, identity in streamed if not identity)
    wanted = {STREAM: _Shadow(flags, identified), STREAM_INSERTS: _Shadow((flags[0], False, False), others)}
    names = {oid: name for oid, name, _, _ in tables}
    # Else tables with identity full and generated columns could not be updated; before 18 there is no such rule.
    options: LiteralString = (
        ", publish_generated_columns = stored" if connection.info.server_version >= 180000 else ""
    )
    statements = [
        s for name, shadow in wanted.items() for s in _changes(name, known.get(name), shadow, names, options)
    ]
    if statements:
        async with connection.transaction():
            await connection.execute("set local lock_timeout = '3s'")
            for statement in statements:
                await connection.execute(statement)


def _changes(
    name: str, has: _Shadow | None, wants: _Shadow, names: dict[int, str], options: LiteralString
) -> list[sql.Composed]:
    publication = sql.Identifier(name)
    publish = _publish(wants.flags)
    create = sql.SQL("create publication {} with (publish = {}" + options + ")").format(publication, publish)
    statements = []
    if has is None:
        statements.append(create)
        has = _Shadow(wants.flags, frozenset())
    if has.flags != wants.flags:
        statements.append(sql.SQL("alter publication {} set (publish = {})").format(publication, publish))
    if wants.oids and has.oids != wants.oids:
        tables = sql.SQL(", ").join(sql.SQL(names[oid]) for oid in sorted(wants.oids))
        statements.append(sql.SQL("alter publication {} set table {}").format(publication, tables))
    elif has.oids - wants.oids:
        statements.append(sql.SQL("drop publication {}").format(publication))
        statements.append(create)
    return statements


def _publish(flags: _Flags) -> sql.Literal:
    names = ("insert", "update", "delete")
    return sql.Literal(", ".join(name for name, flag in zip(names, flags, strict=True) if flag))


__all__ = ["PUBLICATION", "STREAM", "STREAM_INSERTS", "Published", "follow"]

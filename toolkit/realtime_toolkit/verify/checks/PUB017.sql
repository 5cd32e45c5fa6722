-- PUB017: A publication of somebody else makes writes fail (55000, 42P10)
-- Whoever publishes updates or deletes of a table, a sync engine or a warehouse, needs its replica identity: without one, with a
-- row filter outside of it, or a column list that leaves a part of it out, Postgres refuses every UPDATE or DELETE of the table.
with foreign_entry as (
  select p.pubname, p.puballtables, p.pubupdate, p.pubdelete, t.relid, t.fqn, i.kind, i.cols, r.prqual as row_filter, r.prrelid,
    r.prattrs as column_list
  from pg_publication p
  cross join lateral pg_get_publication_tables(p.pubname) g
  join own_table t on t.relid = g.relid
  join identity i on i.relid = t.relid
  left join pg_publication_rel r on r.prpubid = p.oid and (r.prrelid = t.relid
    or r.prrelid in (select a from pg_partition_ancestors(t.relid) a) and not exists (
      select from pg_publication_rel own where own.prpubid = p.oid and own.prrelid = t.relid))
  where p.pubname <> 'supabase_realtime' and (p.pubupdate or p.pubdelete) and t.kind = 'r'
),
broken as (
  select e.*, x.how, x.sqlstate, x.fix
  from foreign_entry e
  left join primary_key k using (relid)
  cross join lateral (
    select case
        when e.kind = 'n' then 'its replica identity is NOTHING'
        when e.kind = 'i' then 'the index of its replica identity is gone'
        when k.relid is not null then 'its primary key is deferrable'
        else 'it has no primary key' end as how,
      '55000' as sqlstate,
      case when k.immediate then format('alter table %s replica identity default;', e.fqn)
        else format('alter table %s replica identity full;', e.fqn) end as fix
    where e.cols is null
    union all
    select format('the row filter uses %s, outside of the replica identity', string_agg(quote_ident(c.name), ', ' order by c.attnum)), '42P10',
      format('-- publish inserts only, or let the replica identity hold what is filtered by: alter publication %I set (publish = ''insert'');', e.pubname)
    from own_column c
    where c.relid = e.relid and e.cols is not null and e.row_filter is not null and c.attnum <> all (e.cols)
      and pg_get_expr(e.row_filter, e.prrelid) ~ c.pattern
    having count(*) > 0
    union all
    select format('the column list leaves out %s of the replica identity', string_agg(quote_ident(c.name), ', ' order by c.attnum)), '42P10',
      format('-- name those columns, too: alter publication %I drop table %s; alter publication %I add table %s (…);', e.pubname, e.fqn, e.pubname, e.fqn)
    from own_column c
    where c.relid = e.relid and e.column_list is not null and e.prrelid = e.relid and c.attnum = any (e.cols)
      and c.attnum <> all (e.column_list::int2[])
    having count(*) > 0
  ) as x
)
select
  'PUB017' as code, 'error' as level, fqn as object,
  format('The publication %I holds %s, and %s: every %s on it fails with %s.', pubname, fqn, how,
    concat_ws(' and ', case when pubupdate then 'UPDATE' end, case when pubdelete then 'DELETE' end), sqlstate) as detail,
  fix, fqn || ' ' || pubname as fingerprint
from broken
-- The publication of Realtime breaks them as well, and PUB007 and PUB008 say so.
where not (sqlstate = '55000' and relid in (select relid from published) and exists (select from publication where pubupdate or pubdelete))

-- PUB006: A column list of the publication is mistaken for protection
-- Realtime does not apply column lists: every column that the subscriber's role may select is delivered. Column
-- privileges are what it does apply.
select
  'PUB006' as code, 'error' as level, t.fqn as object,
  format('%s is published with a column list that leaves out %s. Realtime ignores column lists: these values are delivered '
    'to every subscriber who sees the row.', t.fqn, hidden.names) as detail,
  format('alter publication supabase_realtime drop table %1$s; alter publication supabase_realtime add table %1$s; '
    'revoke select on %1$s from anon, authenticated; grant select (%2$s) on %1$s to authenticated;', t.fqn, listed.names) as fix,
  t.fqn as fingerprint
from named n join own_table t using (relid) join identity i using (relid)
cross join lateral (
  select string_agg(quote_ident(c.name), ', ' order by c.attnum) as names from own_column c
  where c.relid = n.relid and c.attnum <> all (n.column_list::int2[])
) as hidden
cross join lateral (
  select string_agg(quote_ident(c.name), ', ' order by c.attnum) as names from own_column c
  where c.relid = n.relid and c.attnum = any (n.column_list::int2[])
) as listed
where n.column_list is not null
  and not exists (  -- otherwise PUB007 has it
    select from publication p where (p.pubupdate or p.pubdelete) and i.cols is not null
      and (i.kind = 'f' or not i.cols <@ n.column_list::int2[])
  )

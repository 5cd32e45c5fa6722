-- PUB005: A row filter of the publication is mistaken for protection
-- Realtime does not apply row filters: it takes only the names of the tables from the publication, so the filtered
-- rows are delivered all the same. What a subscriber may see is decided by policies alone.
select
  'PUB005' as code, 'error' as level, t.fqn as object,
  format('%s is published with a row filter, WHERE %s. Realtime ignores row filters: rows outside it are delivered too.',
    t.fqn, pg_get_expr(n.row_filter, n.relid)) as detail,
  format('alter publication supabase_realtime drop table %1$s; alter publication supabase_realtime add table %1$s; '
    '-- and say in a SELECT policy of %1$s what the filter said', t.fqn) as fix,
  t.fqn as fingerprint
from named n join own_table t using (relid) left join identity i using (relid)
where n.row_filter is not null
  -- otherwise PUB007 has it, and the mending is the same
  and not exists (
    select from publication p, own_column c
    where (p.pubupdate or p.pubdelete) and c.relid = n.relid and i.cols is not null and c.attnum <> all (i.cols)
      and pg_get_expr(n.row_filter, n.relid) ~ c.pattern
  )

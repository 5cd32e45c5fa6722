-- PUB012: A partitioned table is published by its root
-- Changes then carry the names of the partitions: a binding on the root is refused ("Unable to subscribe to changes"),
-- only the partitions or a wildcard work, and a wildcard is expanded when subscribing, so it misses later partitions.
select
  'PUB012' as code, 'warning' as level, t.fqn as object,
  format('%s is partitioned and published by its root: a subscription to %s is refused, only its partitions (%s) or a wildcard '
    'can be subscribed to.', t.fqn, t.fqn, coalesce(leaves.names, 'none yet')) as detail,
  format('alter publication supabase_realtime drop table %s;', t.fqn)
    || coalesce(format(' alter publication supabase_realtime add table %s;', leaves.names), '') as fix,
  t.fqn as fingerprint
from named n join own_table t using (relid) cross join publication p
cross join lateral (
  select string_agg(l.relid::regclass::text, ', ' order by l.relid::regclass::text) as names
  from pg_partition_tree(t.relid) l where l.isleaf and l.relid <> t.relid
) as leaves
where t.kind = 'p' and not p.pubviaroot

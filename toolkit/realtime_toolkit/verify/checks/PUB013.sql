-- PUB013: publish_via_partition_root: nothing of a partitioned table is ever delivered
-- A binding on the root is accepted then and one on a partition refused, and Realtime delivers nothing at all
-- (measured on Realtime 2.129.8).
select
  'PUB013' as code, 'error' as level, t.fqn as object,
  format('%s is partitioned and published with publish_via_partition_root = true: subscriptions are accepted and nothing is ever '
    'delivered.', t.fqn) as detail,
  format('alter publication supabase_realtime set (publish_via_partition_root = false); alter publication supabase_realtime drop table %s;',
    t.fqn) || coalesce(format(' alter publication supabase_realtime add table %s;', leaves.names), '') as fix,
  t.fqn as fingerprint
from published t cross join publication p
cross join lateral (
  select string_agg(l.relid::regclass::text, ', ' order by l.relid::regclass::text) as names
  from pg_partition_tree(t.relid) l where l.isleaf and l.relid <> t.relid
) as leaves
where t.kind = 'p' and p.pubviaroot

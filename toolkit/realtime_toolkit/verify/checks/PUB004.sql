-- PUB004: A table that should be published is not
-- Expected are: tables named under [publication] in supabase/verify.toml, tracked tables, tables whose replica
-- identity somebody has set (it has no other use), partitions whose siblings are published. And where nothing at
-- all is published and nothing broadcasts from the database either, no subscriber can receive anything.
with expected as (
  select t.relid, t.fqn, 'it is expected by the configuration' as why
  from jsonb_array_elements_text(current_setting('toolkit.expected')::jsonb) as name
  join own_table t on t.relid = to_regclass(case when name like '%.%' then name else 'public.' || name end)
  union all
  select relid, fqn, 'track_table has registered it' from tracked join own_table using (relid)
  union all
  select relid, fqn, 'its replica identity has been set, which serves a publication only' from own_table t
  where replident in ('f', 'i') and (kind = 'r' or not exists (
    select from pg_inherits h join published p on p.relid = h.inhrelid where h.inhparent = t.relid))
  union all
  select t.relid, t.fqn, 'other partitions of ' || h.inhparent::regclass || ' are published'
  from own_table t join pg_inherits h on h.inhrelid = t.relid
  where t.is_partition and t.kind = 'r' and exists (
    select from pg_inherits s join published p on p.relid = s.inhrelid where s.inhparent = h.inhparent)
),
missing as (
  select distinct on (relid) relid, fqn, why from expected
  where relid not in (select relid from published)
  order by relid, why
)
select
  'PUB004' as code, 'error' as level, fqn as object,
  format('%s is not in the publication supabase_realtime, though %s: its changes reach no subscriber.', fqn, why) as detail,
  format('alter publication supabase_realtime add table %s;', fqn) as fix,
  fqn as fingerprint
from missing where exists (select from publication)
union all
select
  'PUB004', 'error', 'publication supabase_realtime',
  format('The publication has no tables, and nothing broadcasts from the database: no change of %s reaches a subscriber.',
    (select string_agg(fqn, ', ' order by fqn) from own_table where kind = 'r')),
  format('alter publication supabase_realtime add table %s;', (select string_agg(fqn, ', ' order by fqn) from own_table where kind = 'r')),
  'empty'
where exists (select from publication)
  and exists (select from own_table t join reader using (relid) where kind = 'r')
  and not exists (select from published) and not exists (select from missing)
  and not exists (select from sender)
  and not exists (select from channel_policy)

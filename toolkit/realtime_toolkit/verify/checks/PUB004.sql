-- PUB004: A table that should be published is not
-- Expected are: tables named under [publication] in supabase/verify.toml, tracked tables, tables whose replica
-- identity somebody has set (it has no other use), partitions whose siblings are published. And where nothing at
-- all is published and nothing broadcasts from the database either, no subscriber can receive anything: a warning, for not
-- every project wants Realtime. What mends it must not make writes fail (an UPDATE of a table without identity, 55000), nor
-- show everybody what RLS does not protect.
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
    -- Of another publication (a sync engine, a warehouse), then.
    and not exists (
      select from pg_publication o, lateral pg_get_publication_tables(o.pubname) g
      where g.relid = t.relid or t.relid in (select a.relid from pg_partition_ancestors(g.relid) a))
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
),
example as (
  select t.fqn from own_table t join identity i using (relid)
  where t.kind = 'r' and t.rls and i.cols is not null
    and exists (select from policy p join reader r on r.relid = p.relid join policy_role q on q.policy = p.policy and q.role = r.role
                where p.relid = t.relid and p.permissive and p.cmd in ('r', '*') and not p.never)
  -- Rather one that changes, and of which each sees their own.
  order by not exists (select from own_column c where c.relid = t.relid and c.name ~* '^(last_?)?(updated|modified|changed)_?(at|on)$'),
    not exists (select from policy p where p.relid = t.relid and p.cmd in ('r', '*') and p.policy in (select policy from personal)), t.fqn
  limit 1
)
select
  'PUB004' as code, 'error' as level, m.fqn as object,
  format('%s is not in the publication supabase_realtime, though %s: its changes reach no subscriber.', m.fqn, m.why) as detail,
  case when not t.rls then format('alter table %1$s enable row level security; -- and policies for whoever may read; then: '
      'alter publication supabase_realtime add table %1$s;', m.fqn)
    when i.cols is null and t.kind = 'r' then format('-- first a primary key, for every UPDATE and DELETE would fail: '
      'alter table %1$s add primary key (…); then: alter publication supabase_realtime add table %1$s;', m.fqn)
    else format('alter publication supabase_realtime add table %s;', m.fqn) end as fix,
  m.fqn as fingerprint
from missing m join own_table t using (relid) left join identity i using (relid) where exists (select from publication)
union all
select
  'PUB004', 'warning', 'publication supabase_realtime',
  'The publication has no tables, and nothing broadcasts from the database: no change of any table reaches a subscriber.',
  format('alter publication supabase_realtime add table %s; -- for example: the tables whose changes somebody should hear of', fqn),
  'empty'
from example
where exists (select from publication)
  and not exists (select from published) and not exists (select from missing)
  and not exists (select from sender)
  and not exists (select from channel_policy)

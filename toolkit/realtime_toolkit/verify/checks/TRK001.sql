-- TRK001: A tracked table no longer keeps what track_table promised
-- Its four columns (types, NOT NULL, defaults), the two triggers, enabled and on every column, the replica identity by
-- (scope column, key), the scope column NOT NULL. (RLS is RLS001's, membership of the publication PUB004's.) A listener relies on
-- all of it: without it rows are stale, or deleted without a word, and no digest can tell.
with promise as (
  select k.relid, k.kind, k.scope_column, t.fqn, problem
  from tracked k join own_table t using (relid)
  cross join lateral (
    select format('the column %I is gone', w.name) as problem
    from (values ('created_at'), ('updated_at'), ('version'), ('changed_in'), (k.scope_column)) as w (name)
    where not exists (select from own_column c where c.relid = k.relid and c.name = w.name)
    union all
    select format('the column %I is %s, not %s', c.name, c.base_type, w.type)
    from (values ('created_at', 'timestamp with time zone'), ('updated_at', 'timestamp with time zone'), ('version', 'bigint'),
      ('changed_in', 'xid8')) as w (name, type)
    join own_column c on c.relid = k.relid and c.name = w.name and c.base_type <> w.type
    union all
    select format('the column %I may be null', c.name) from own_column c
    where c.relid = k.relid and c.name in ('created_at', 'updated_at', 'version', 'changed_in', k.scope_column) and not c.not_null
    union all
    select format('the column %I has no default', c.name) from own_column c
    where c.relid = k.relid and c.name in ('created_at', 'updated_at', 'version', 'changed_in') and not c.has_default
    union all
    select format('the trigger %I is %s', w.name, case
      when g.oid is null then 'gone'
      when g.tgenabled in ('D', 'R') then 'disabled'
      else 'not on every change' end)
    from (values ('zz_realtime_toolkit_stamp', 'stamp', 23), ('zz_realtime_toolkit_fixed', 'refuse_move', 19)) as w (name, function, type)
    left join pg_trigger g on g.tgrelid = k.relid and g.tgname = w.name
      and g.tgfoid = to_regproc('realtime_toolkit.' || w.function)
    where g.oid is null or g.tgenabled not in ('O', 'A') or g.tgtype <> w.type or cardinality(g.tgattr::int2[]) > 0
      or (w.function = 'stamp' and g.tgqual is not null)
    union all
    select 'the replica identity does not hold the scope column' where not exists (
      select from identity i join own_column c on c.relid = k.relid and c.name = k.scope_column
      where i.relid = k.relid and c.attnum = any (i.cols)
    )
    union all
    select 'the replica identity does not hold the whole key' where not exists (
      select from identity i join primary_key p using (relid) where i.relid = k.relid and p.cols <@ i.cols
    )
  ) as broken
)
select
  'TRK001' as code, 'error' as level, p.fqn as object,
  format('%s is tracked under kind %s, but %s: a listener can no longer rely on it.', p.fqn, p.kind,
    string_agg(p.problem, ', ' order by p.problem)) as detail,
  format('select public.track_table(%L, kind => %L, scope_column => %L);', p.fqn, p.kind, p.scope_column) as fix,
  p.fqn as fingerprint
from promise p group by p.relid, p.fqn, p.kind, p.scope_column

-- RLS004: A policy's column has no index
-- Every read under the policy, and so every sync, digest and reconciliation, scans the table. Judged are the columns by which
-- the SELECT policies of published tables restrict reading, and the columns by which their policies look into other tables (of
-- those one is enough). A partial index counts if it only leaves out marked rows (… is null).
with watched as (
  select relid from published
  union
  select d.refobjid
  from policy p
  join published t using (relid)
  join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.policy and d.refclassid = 'pg_class'::regclass
),
index_column as (
  select i.indrelid as relid, k.attnum
  from pg_index i cross join lateral unnest(i.indkey::int2[]) with ordinality as k (attnum, position)
  where i.indisvalid and k.position <= i.indnkeyatts
    and coalesce(pg_get_expr(i.indpred, i.indrelid), 'IS NULL') ~ 'IS (NOT )?NULL'
),
own_missing as (
  select f.relid, f.fqn, f.attnum, f.name from filter_column f
  where f.relid in (select relid from watched)
    and not exists (select from index_column x where x.relid = f.relid and x.attnum = f.attnum)
),
looked_up as (
  select d.refobjid as relid, d.refobjsubid::int2 as attnum, min(p.name) as policy_name, min(p.fqn) as policy_table
  from policy p
  join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.policy and d.refclassid = 'pg_class'::regclass
  join own_table t on t.relid = d.refobjid
  where d.refobjid <> p.relid and d.refobjsubid > 0 and p.relid in (select relid from published)
  group by d.refobjid, d.refobjsubid
),
foreign_missing as (
  select u.relid, c.fqn, min(u.policy_name) as policy_name, min(u.policy_table) as policy_table,
    string_agg(quote_ident(c.name), ', ' order by c.attnum) as names
  from looked_up u join own_column c using (relid, attnum)
  where not exists (
    select from index_column x join looked_up o on o.relid = x.relid and o.attnum = x.attnum where x.relid = u.relid
  )
  group by u.relid, c.fqn
)
select
  'RLS004' as code, 'warning' as level, fqn || '.' || quote_ident(name) as object,
  format('The SELECT policies of %s restrict reading by %s, which no index holds: every read under RLS scans the table.',
    fqn, quote_ident(name)) as detail,
  format('create index concurrently on %s (%I);', fqn, name) as fix,
  fqn || '.' || name as fingerprint
from own_missing
union all
select
  'RLS004', 'warning', fqn,
  format('The policy %I on %s looks %s up by %s, and no index holds one of them.', policy_name, policy_table, fqn, names),
  format('create index concurrently on %s (%s);', fqn, names),
  fqn || ' lookup'
from foreign_missing

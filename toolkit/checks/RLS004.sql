-- RLS004: A policy's column has no index
-- Every read under the policy, and so every sync, digest and reconciliation, scans the table. Judged are the columns by which
-- a table's own SELECT policies restrict reading (an index must begin with them, or with other such columns before them),
-- and the tables that policies look into (an index must begin with one of the columns looked up).
with index_column as (  -- positions in every complete index
  select i.indrelid as relid, i.indexrelid, k.attnum, k.position
  from pg_index i cross join lateral unnest(i.indkey::int2[]) with ordinality as k (attnum, position)
  where i.indisvalid and i.indpred is null and k.position <= i.indnkeyatts
),
own_missing as (
  select f.relid, f.fqn, f.attnum, f.name from filter_column f
  where not exists (
    select from index_column l
    where l.relid = f.relid and l.attnum = f.attnum and not exists (
      select from index_column b
      where b.indexrelid = l.indexrelid and b.position < l.position
        and b.attnum not in (select o.attnum from filter_column o where o.relid = f.relid)
    )
  )
),
looked_up as (
  select d.refobjid as relid, d.refobjsubid::int2 as attnum, min(p.name) as policy_name, min(p.fqn) as policy_table
  from policy p
  join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.policy and d.refclassid = 'pg_class'::regclass
  join own_table t on t.relid = d.refobjid
  where d.refobjid <> p.relid and d.refobjsubid > 0
  group by d.refobjid, d.refobjsubid
),
foreign_missing as (
  select u.relid, c.fqn, min(u.policy_name) as policy_name, min(u.policy_table) as policy_table,
    string_agg(quote_ident(c.name), ', ' order by c.attnum) as names
  from looked_up u join own_column c using (relid, attnum)
  where not exists (
    select from index_column l join looked_up o on o.relid = l.relid and o.attnum = l.attnum
    where l.relid = u.relid and l.position = 1
  )
  group by u.relid, c.fqn
)
select
  'RLS004' as code, 'warning' as level, fqn || '.' || quote_ident(name) as object,
  format('The SELECT policies of %s restrict reading by %s, which no index begins with: every read under RLS scans the table.',
    fqn, quote_ident(name)) as detail,
  format('create index concurrently on %s (%I);', fqn, name) as fix,
  fqn || '.' || name as fingerprint
from own_missing
union all
select
  'RLS004', 'warning', fqn,
  format('The policy %I on %s looks %s up by %s, and no index begins with one of them.', policy_name, policy_table, fqn, names),
  format('create index concurrently on %s (%s);', fqn, names),
  fqn || ' lookup'
from foreign_missing

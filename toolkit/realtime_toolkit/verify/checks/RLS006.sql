-- RLS006: Policies that read each other in a circle (42P17)
-- A policy that reads its own table, or a table whose policies read this one, raises "infinite recursion detected" on every
-- query under it; and one raising policy loses Realtime's whole poll batch. Postgres raises where it comes back to the table
-- and finds a SELECT policy with a subquery there, (select auth.uid()) included.
with source as (  -- policies by role, with what they read
  select p.policy, p.relid, p.cmd, r.role, q.reads
  from policy p join policy_role r using (policy)
  cross join lateral (
    select d.refobjid as reads from pg_depend d
    where d.classid = 'pg_policy'::regclass and d.objid = p.policy and d.refclassid = 'pg_class'::regclass
      and d.refobjid <> p.relid
    union
    -- Columns of its own table say nothing; a FROM item does.
    select p.relid where coalesce(p.qual, '') || ' ' || coalesce(p.wcheck, '')
      ~ ('\m(FROM|JOIN)\s+\(*' || regexp_replace(p.fqn, '[][\\(){}.*+?^$|]', '\\\&', 'g') || '(\s|\)|$)')
  ) as q
  join own_table here on here.relid = p.relid and here.rls
  join own_table there on there.relid = q.reads and there.rls
),
reach as (
  select policy, role, relid, reads from source
  union
  select r.policy, r.role, r.relid, s.reads
  from reach r join source s on s.relid = r.reads and s.role = r.role and s.cmd in ('r', '*')
  where r.reads <> r.relid
)
select
  'RLS006' as code, 'error' as level, format('policy %I on %s', p.name, p.fqn) as object,
  format('The policy %I on %s reads %s: infinite recursion (42P17) on every query under it, and Realtime loses the whole batch.',
    p.name, p.fqn, (select string_agg(distinct s.reads::regclass::text, ', ') from source s where s.policy = p.policy)) as detail,
  format('-- ask in a function that RLS does not apply to (language sql stable security definer set search_path = ''''): '
    'alter policy %I on %s %s;', p.name, p.fqn, case p.cmd when 'a' then 'with check ((select …))' else 'using ((select …))' end) as fix,
  p.fqn || ' ' || p.name as fingerprint
from policy p
where exists (
  select from reach r
  where r.policy = p.policy and r.reads = p.relid and exists (
    select from policy s join policy_role q using (policy)
    where s.relid = p.relid and q.role = r.role and s.cmd in ('r', '*') and s.qual ~ '\mSELECT '
  )
)

-- RLS006: Policies that read each other in a circle (42P17)
-- A policy that reads its own table, or a table whose policies read this one, raises "infinite recursion detected" on every
-- query; and one raising policy loses Realtime's whole poll batch.
with edge as (
  select distinct p.policy, p.relid as source, d.refobjid as target
  from policy p
  join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.policy and d.refclassid = 'pg_class'::regclass
  join own_table t on t.relid = d.refobjid and t.rls
  join own_table s on s.relid = p.relid and s.rls
  -- A dependency on the whole relation (no column) is a FROM item; on its own table also the automatic one, hence deptype.
  where d.refobjsubid = 0 and d.deptype = 'n'
    and (p.relid <> d.refobjid or p.cmd in ('r', '*') or p.policy is not null)
),
read_edge as (  -- only policies that govern SELECT are evaluated when another policy reads the table
  select e.* from edge e join policy p using (policy) where p.cmd in ('r', '*')
),
reach as (
  select policy, source, target from edge
  union
  select r.policy, r.source, e.target from reach r join read_edge e on e.source = r.target
)
select
  'RLS006' as code, 'error' as level, format('policy %I on %s', p.name, p.fqn) as object,
  format('The policy %I on %s reads %s: infinite recursion (42P17) on every query under it, and Realtime loses the whole batch.',
    p.name, p.fqn, (select string_agg(distinct e.target::regclass::text, ', ') from edge e where e.policy = p.policy)) as detail,
  format('-- ask in a function that RLS does not apply to: create function … returns boolean language sql stable security definer '
    'set search_path = '''' as …; alter policy %I on %s using ((select …));', p.name, p.fqn) as fix,
  p.fqn || ' ' || p.name as fingerprint
from policy p
where exists (select from reach r where r.policy = p.policy and r.target = p.relid)
  and (p.cmd in ('r', '*') or exists (select from edge e where e.policy = p.policy and e.target = p.relid
    and exists (select from read_edge x where x.source = p.relid and x.target = p.relid)))

-- WAL004: The wall of the other tables is missing on this one
-- Rows that hang on rows of one tenant are that tenant's as well. Where the tables around ask whose the row is, and one policy asks
-- for a role that every tenant has, or for nothing, its rows are shown to all tenants.
with compared as (  -- policies that compare a column with the caller
  select p.policy, p.relid, c.attnum, c.name
  from policy p join own_column c on c.relid = p.relid
  join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.policy and d.refclassid = 'pg_class'::regclass
    and d.refobjid = p.relid and d.refobjsubid = c.attnum
  where p.policy in (select policy from personal)
    and coalesce(p.qual, p.wcheck) ~ format($re$%s\)*(::[a-z ]+)?\)* (= |IN \()|= ANY \(|= \(*%s|\w\.\w+"?\([^()]*%s$re$, c.pattern, c.pattern, c.pattern)
),
tenant_column as (  -- by the same name in two tables or more, and no user's
  select k.name from compared k
  where not exists (
    select from pg_constraint f where f.conrelid = k.relid and f.contype = 'f' and f.confrelid = to_regclass('auth.users') and k.attnum = any (f.conkey))
    and k.name !~* '^(id|(user|owner|author|created_by|creator|member|profile|person|customer)(_?id)?)$'
  group by k.name having count(distinct k.relid) >= 2
),
-- A policy that asks for a role, which elsewhere is asked together with the tenant.
role_only as (
  select p.policy, p.relid, p.fqn, p.name, t.name as tenant, m[1] as asked
  from policy p
  join own_column c on c.relid = p.relid join tenant_column t on t.name = c.name
  cross join lateral regexp_matches(coalesce(p.qual, p.wcheck), '(= ''[^'']+'')', 'g') as m
  where p.permissive and p.policy in (select policy from personal) and exists (select from policy_role r where r.policy = p.policy)
    and not exists (
      select from pg_depend d where d.classid = 'pg_policy'::regclass and d.objid = p.policy and d.refclassid = 'pg_class'::regclass
        and d.refobjid = p.relid and d.refobjsubid > 0)
    and exists (
      select from policy o join own_column k on k.relid = o.relid and k.name = t.name
      where position(m[1] in coalesce(o.qual, '') || coalesce(o.wcheck, '')) > 0 and exists (
        select from pg_depend d where d.classid = 'pg_policy'::regclass and d.objid = o.policy and d.refclassid = 'pg_class'::regclass
          and d.refobjid = o.relid and d.refobjsubid = k.attnum))
    and not exists (  -- a restrictive one is the wall
      select from policy o join compared k using (policy) where o.relid = p.relid and not o.permissive and o.cmd in (p.cmd, '*') and k.name = t.name)
),
-- Rows without an owner that hang on protected rows only, read by whoever is signed in.
open_child as (
  select p.policy, p.relid, p.fqn, p.name, e.role_name,
    (select string_agg(distinct y.fqn, ', ') from pg_constraint f join own_table y on y.relid = f.confrelid where f.conrelid = p.relid and f.contype = 'f') as parents
  from policy p
  join (select o.relid, a.role, a.name as role_name from everybody_reads o join api a using (role)) as e on e.relid = p.relid
  join policy_role r on r.policy = p.policy and r.role = e.role
  join own_table t on t.relid = p.relid and t.rls
  where p.permissive and p.cmd in ('r', '*') and coalesce(p.qual, '') ~ '^\(*true\)*$|auth\.role\(\)'
    and has_any_column_privilege(e.role, p.relid, 'select') and has_schema_privilege(e.role, t.schema, 'usage')
    and exists (select from pg_constraint f join own_table y on y.relid = f.confrelid where f.conrelid = p.relid and f.contype = 'f' and y.relid <> p.relid)
    and not exists (  -- every row it refers to is protected from the role, and nothing it refers to is a user
      select from pg_constraint f left join own_table y on y.relid = f.confrelid and y.rls
      where f.conrelid = p.relid and f.contype = 'f' and f.confrelid <> p.relid
        and (y.relid is null or exists (select from everybody_reads o where o.relid = y.relid and o.role = e.role)
          or not exists (select from policy o where o.relid = y.relid and o.permissive and o.cmd in ('r', '*') and o.policy in (select policy from personal))))
    and not exists (
      select from own_column c left join pg_attrdef d on d.adrelid = c.relid and d.adnum = c.attnum
      where c.relid = p.relid and (pg_get_expr(d.adbin, d.adrelid) ~ 'auth\.uid' or c.name ~* '^(user|owner|author|creator)_?(id)?$|^created_by$'))
    -- Its own policies for writing ask whose row it hangs on, and COL002 has not said it.
    and exists (select from policy o where o.relid = p.relid and o.permissive and o.cmd <> 'r' and o.policy in (select policy from personal))
    and not exists (select from shown_column s where s.relid = p.relid and s.kind = 'secret')
)
select
  'WAL004' as code, 'error' as level, format('policy %I on %s', name, fqn) as object,
  format('The policy %I on %s asks for a role (%s) and not for %I, by which the other tables keep tenants apart: whoever has it in one tenant has it in all.',
    name, fqn, min(asked), min(tenant)) as detail,
  format('-- add to the policy %I on %s what the other tables ask of %I', name, fqn, min(tenant)) as fix,
  fqn || ' ' || name as fingerprint
from role_only group by policy, name, fqn
union all
select
  'WAL004', 'error', format('policy %I on %s', name, fqn),
  format('The policy %I on %s shows every row to %s, and each row hangs on one of %s, which they may not read.', name, fqn,
    string_agg(role_name, ' and ' order by role_name), parents),
  format('-- let the policy %I on %s ask for the row of %s that it hangs on', name, fqn, parents),
  fqn || ' ' || name
from open_child group by policy, name, fqn, parents

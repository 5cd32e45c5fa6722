-- FUN005: A SECURITY DEFINER function whose owner row level security binds
-- Such a function is written to see past the policies, and its owner does not: it owns the table no more (or FORCE ROW LEVEL
-- SECURITY is on), and no policy is made for it. The function finds nothing, its writes fail, or the policy that calls it calls itself.
with bound as (
  select r.function, r.signature, o.rolname as owner_name, r.owner, t.relid, t.fqn, t.name as table_name,
    pg_has_role(r.owner, t.owner, 'usage') as forced
  from routine r
  join pg_roles o on o.oid = r.owner and not o.rolsuper and not o.rolbypassrls
  join own_table t on t.rls and (t.forced or not pg_has_role(r.owner, t.owner, 'usage'))
    and r.source ~* ('(^|[^\w$])' || regexp_replace(quote_ident(t.name), '[][\\(){}.*+?^$|]', '\\\&', 'g') || '($|[^\w$])')
  where r.definer
),
judged as (
  select b.*,
    exists (select from pg_depend d join policy p on d.objid = p.policy and p.relid = b.relid
      where d.classid = 'pg_policy'::regclass and d.refclassid = 'pg_proc'::regclass and d.refobjid = b.function
        and exists (select from unnest(p.roles) q where q = 0 or pg_has_role(b.owner, q, 'usage'))) as circular
  from bound b
  -- A policy made for the owner is how a role of few rights is meant to read; one for everybody binds it as it binds the caller.
  where not exists (
    select from policy p where p.relid = b.relid and p.permissive
      and exists (select from unnest(p.roles) q where q <> 0 and pg_has_role(b.owner, q, 'usage')))
)
select
  'FUN005' as code, 'error' as level, 'function ' || signature as object,
  format('The function %s is SECURITY DEFINER, but its owner %I is bound by the row level security of %s%s: %s.', signature, owner_name, fqn,
    case when forced then ' (FORCE ROW LEVEL SECURITY)' else '' end,
    case when circular then 'its policies call the function again, without end'
      else 'no policy is made for it, so it finds and changes no row' end) as detail,
  case when forced then format('alter table %s no force row level security;', fqn)
    else format('create policy %I on %s to %I using (true) with check (true);', table_name || '_' || owner_name, fqn, owner_name)
  end as fix,
  signature || ' ' || fqn as fingerprint
from judged j
where circular or not exists (
  select from policy p where p.relid = j.relid and p.permissive and 0 = any (p.roles)
)

-- FUN006: EXECUTE was taken from a client's role, and PUBLIC has it still
-- Every function may be called by PUBLIC from the start. To revoke EXECUTE from anon or authenticated, or to grant it to
-- service_role alone, takes nothing away as long as PUBLIC keeps it: every role is in PUBLIC.
with granted as (
  select r.function, a.name as role_name, exists (select from aclexplode(r.acl) x where x.grantee = a.oid and x.privilege_type = 'EXECUTE') as named
  from routine r, (select oid, rolname as name from pg_roles where rolname in ('anon', 'authenticated', 'service_role')) as a
  where exists (select from aclexplode(r.acl) x where x.grantee = 0 and x.privilege_type = 'EXECUTE')
),
left_out as (
  select g.function, string_agg(g.role_name, ' and ' order by g.role_name) filter (where not g.named and g.role_name <> 'service_role') as roles
  from granted g group by g.function having bool_or(g.named)
)
select
  'FUN006' as code, case when r.definer then 'error' else 'warning' end as level, 'function ' || r.signature as object,
  format('EXECUTE on the function %s is granted to some roles only and not to %s, who may call it all the same: PUBLIC has it.',
    r.signature, l.roles) as detail,
  format('revoke execute on routine %s from public;', r.signature) as fix,
  r.signature as fingerprint
from left_out l join routine r using (function)
where l.roles is not null and exists (select from callable c where c.function = r.function)

-- ROL001: A client's role is a member of a role of the server
-- A member has what its role has, through any number of others: its grants, its functions, the policies made for it, and the
-- tables that it owns. Whoever has a token of anon or authenticated then acts as the server does.
with power as (
  select r.oid, r.rolname as name, case
    when r.rolsuper then 'a superuser'
    when r.rolname = 'service_role' then 'the key of the server'
    when r.rolname ~ '^pg_' then 'a role of Postgres that passes over every grant'
    when r.rolbypassrls then 'a role that no policy binds'
    when r.rolname = 'authenticated' then 'whoever is signed in'
    when r.rolcreaterole or r.rolreplication then 'a role that administers the server'
    when exists (select from own_table t where t.owner = r.oid and t.rls) then 'an owner of tables, whom their policies do not bind'
    when r.rolname !~ '^(supabase_|authenticator|dashboard_user)' then 'a role that a policy lets do more'
    else 'a role of the services' end as what
  from pg_roles r
  where r.rolsuper or r.rolbypassrls or r.rolcreaterole or r.rolreplication
    or r.rolname in ('service_role', 'authenticated', 'authenticator', 'dashboard_user', 'pg_read_all_data', 'pg_write_all_data',
      'pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files', 'pg_maintain')
    or r.rolname ~ '^supabase_'
    or exists (select from own_table t where t.owner = r.oid and t.rls)
    -- A role of the project's own with a policy that asks nothing, where those for clients ask who they are.
    or r.rolname <> 'anon' and exists (
      select from policy p where p.permissive and r.oid = any (p.roles) and p.policy not in (select policy from personal)
        and exists (
          select from policy o join policy_role q using (policy)
          where o.relid = p.relid and o.permissive and o.policy in (select policy from personal) and not r.oid = any (o.roles)
        )
    )
)
select
  'ROL001' as code, 'error' as level, 'role ' || quote_ident(a.name) as object,
  format('%s is a member of %I%s: with the public key and a token one has the rights of %s.', a.name, d.rolname,
    case when bool_and(p.oid <> d.oid) then ', and so of ' || string_agg(quote_ident(p.name), ', ' order by p.name) else '' end,
    string_agg(format('%I (%s)', p.name, p.what), ', ' order by p.name)) as detail,
  format('revoke %I from %I;', d.rolname, a.name) as fix,
  a.name || ' ' || d.rolname as fingerprint
from api a
join pg_roles c on c.oid = a.role and not c.rolsuper
join (select distinct roleid, member from pg_auth_members) as m on m.member = a.role
join pg_roles d on d.oid = m.roleid
join power p on p.oid <> a.role and (p.oid = d.oid or not d.rolsuper and pg_has_role(d.oid, p.oid, 'member'))
group by a.name, d.oid, d.rolname

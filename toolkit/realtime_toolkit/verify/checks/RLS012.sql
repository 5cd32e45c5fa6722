-- RLS012: A client's role is not bound by row level security
-- A role with BYPASSRLS, a superuser, or the owner of a table without FORCE ROW LEVEL SECURITY sees and writes every row
-- whatever the policies say.
select
  'RLS012' as code, 'error' as level, 'role ' || quote_ident(r.rolname) as object,
  format('The role %I %s: no policy binds it.', r.rolname, case when r.rolsuper then 'is a superuser' else 'has BYPASSRLS' end) as detail,
  format('alter role %I %s;', r.rolname, case when r.rolsuper then 'nosuperuser' else 'nobypassrls' end) as fix,
  r.rolname as fingerprint
from pg_roles r join api a on a.role = r.oid where r.rolsuper or r.rolbypassrls
union all
select
  'RLS012', 'error', t.fqn,
  format('%s owns %s, which has no FORCE ROW LEVEL SECURITY: no policy binds the owner.', a.name, t.fqn),
  format('alter table %s owner to postgres;', t.fqn),
  t.fqn
from own_table t join api a on a.role = t.owner where t.rls and not t.forced

-- PUB011: A subscribing role cannot select the key (Error 401)
-- Realtime reads the row back by its primary key as the subscriber's role. A role that a SELECT policy lets in but that
-- has no SELECT on the table, or on some columns without the key, gets a stream of "Error 401: Unauthorized".
with unreadable as (
  select t.relid, t.fqn, a.role, a.name as role_name, t.schema,
    string_agg(quote_ident(c.name), ', ' order by c.attnum) as key,
    has_schema_privilege(a.role, t.schema, 'usage') as in_schema,
    has_any_column_privilege(a.role, t.relid, 'select') as some
  from published t
  join primary_key k using (relid)
  join own_column c on c.relid = t.relid and c.attnum = any (k.cols)
  cross join api a
  where not has_schema_privilege(a.role, t.schema, 'usage') or not has_column_privilege(a.role, t.relid, c.attnum, 'select')
  group by t.relid, t.fqn, a.role, a.name, t.schema
),
-- Let in by a policy that names the role; or, for a policy that names none, no role at all can read.
invited as (
  select distinct p.relid, r.role from policy p join policy_role r using (policy)
  where p.permissive and p.cmd in ('r', '*')
    and (0 <> all (p.roles) or (select count(*) from unreadable u where u.relid = p.relid and not u.some) = 2)
)
select
  'PUB011' as code, 'error' as level, u.fqn as object,
  case when u.some and u.in_schema
    then format('%s may select columns of %s but not its key (%s): a subscription gets only "Error 401: Unauthorized".',
      u.role_name, u.fqn, u.key)
    else format('A policy of %s lets %s read, but the role has no %s: a subscription gets only "Error 401: Unauthorized".',
      u.fqn, u.role_name, case when u.in_schema then 'SELECT privilege' else 'USAGE on the schema' end)
  end as detail,
  case when not u.in_schema then format('grant usage on schema %I to %I; ', u.schema, u.role_name) else '' end
    || case when u.some then format('grant select (%s) on %s to %I;', u.key, u.fqn, u.role_name)
         else format('grant select on %s to %I;', u.fqn, u.role_name) end as fix,
  u.fqn || ' ' || u.role_name as fingerprint
from unreadable u
where (u.some and u.in_schema) or exists (select from invited i where i.relid = u.relid and i.role = u.role)

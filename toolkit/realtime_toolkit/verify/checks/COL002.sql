-- COL002: A key, token or password that everybody reads
-- A key, token or password in a row that a policy opens to everybody is a key for everybody: whoever reads it acts as its
-- owner, joins by it, or forges what it signs.
with found as (
  select s.relid, s.attnum, min(s.name) as name, array_agg(distinct s.role_name order by s.role_name) as roles
  from shown_column s where kind = 'secret' group by s.relid, s.attnum
),
by_table as (
  select relid, string_agg(quote_ident(name), ', ' order by attnum) as names, array_agg(attnum) as attnums, count(*) as many,
    (select string_agg(distinct quote_ident(r), ', ' order by quote_ident(r)) from found g, unnest(g.roles) r where g.relid = f.relid) as roles,
    bool_or('anon' = any (roles)) as public
  from found f group by relid
)
select
  'COL002' as code, 'error' as level, t.fqn as object,
  format('Every row of %s that is open to %s shows %s, with which whoever reads it can act as somebody else.', t.fqn, replace(b.roles, ', ', ' and '), b.names) as detail,
  format('revoke select on %1$s from %2$s; grant select (%3$s) on %1$s to %2$s;', t.fqn, b.roles,
    (select string_agg(quote_ident(c.name), ', ' order by c.attnum) from own_column c where c.relid = t.relid and c.attnum <> all (b.attnums)))
    || '  -- or move them to a table of their own, with a policy of their own' as fix,
  t.fqn as fingerprint
from by_table b join own_table t using (relid)
union all
select
  'COL002', 'error', 'vault.' || v.name,
  format('%s can read vault.%s, where the secrets of the project are.', string_agg(a.name, ' and ' order by a.name), v.name),
  format('revoke all on vault.%s from %s;', v.name, string_agg(quote_ident(a.name), ', ' order by a.name)),
  'vault.' || v.name
from (
  select c.oid, c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'vault' and c.relname in ('secrets', 'decrypted_secrets')
) as v
join api a on has_any_column_privilege(a.role, v.oid, 'select')
  and not exists (select from pg_roles s where s.rolname = 'service_role' and pg_has_role(a.role, s.oid, 'usage'))  -- ROL001 tells
group by v.name
union all
select
  'COL002', 'error', 'function ' || r.signature,
  format('%s can read secrets of the vault by calling %s, which does not ask who calls.', string_agg(c.role_name, ' and ' order by c.role_name), r.signature),
  format('revoke execute on routine %s from public, anon, authenticated;', r.signature),
  r.signature
from routine r join callable c using (function) join pg_proc f on f.oid = r.function
where r.definer and r.source ~* '\mvault\s*\.\s*"?decrypted_secrets'
  and r.source !~* '\mauth\s*\.\s*(uid|jwt|role|email)\s*\(|request\.jwt'
  and f.prorettype <> all (array['void', 'boolean', 'bigint', 'integer']::regtype[])
group by r.function, r.signature

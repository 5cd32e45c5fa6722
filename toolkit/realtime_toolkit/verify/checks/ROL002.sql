-- ROL002: A setting of the database or of a role takes the protection away
-- Settings made with ALTER DATABASE or ALTER ROLE hold in every session of the API: row_security = off makes every query that a
-- policy would filter fail, session_replication_role = replica silences triggers and foreign keys, role and pgrst.db_anon_role
-- decide as whom a visitor acts, a claim set there makes everybody the same person, and pgrst.db_schemas may serve what is the server's.
with setting as (
  select s.setdatabase, s.setrole, r.rolname as role_name, split_part(c, '=', 1) as name, lower(btrim(substr(c, strpos(c, '=') + 1), ' "''')) as value
  from pg_db_role_setting s
  left join pg_roles r on r.oid = s.setrole
  cross join lateral unnest(s.setconfig) as c
  where s.setdatabase in (0, (select oid from pg_database where datname = current_database()))
    and (s.setrole = 0 or r.rolname in ('anon', 'authenticated', 'authenticator', 'supabase_admin', 'supabase_realtime_admin'))
),
judged as (
  select s.*, case
    when name = 'row_security' and value in ('off', 'false', 'no', '0') then
      'every query that a policy would filter fails with 42501, and whoever no policy binds is not told that there are any'
    when name = 'session_replication_role' and value <> 'origin' then 'triggers and foreign keys do nothing'
    when name = 'role' and value not in ('none', 'anon', 'authenticated', 'authenticator') then format('sessions begin as %s', value)
    when name = 'pgrst.db_anon_role' and value <> 'anon' then format('a visitor without a token acts as %s', value)
    when name ~ '^request\.jwt\.claims?(\.|$)' and value <> '' then 'whoever has no such claim has this one'
    when name = 'pgrst.db_schemas' and string_to_array(replace(value, ' ', ''), ',') && array['auth', 'vault', 'pg_catalog', 'information_schema',
      'supabase_migrations', 'cron', 'net', 'pgsodium', 'realtime'] then format('the API serves the schemas %s', value)
    end as harm
  from setting s
)
select
  'ROL002' as code, 'error' as level,
  case when setrole = 0 then 'database' else 'role ' || quote_ident(role_name) end as object,
  format('%s is set to %s for %s%s: %s.', name, value,
    case when setrole = 0 then 'every role' else quote_ident(role_name) end,
    case when setdatabase <> 0 then ' in this database' else '' end, harm) as detail,
  case
    when setrole = 0 then format('alter database %I reset %s;', current_database(), name)
    when setdatabase = 0 then format('alter role %I reset %s;', role_name, name)
    else format('alter role %I in database %I reset %s;', role_name, current_database(), name)
  end as fix,
  concat_ws(' ', role_name, name) as fingerprint
from judged where harm is not null
union all
select
  'ROL002', 'error', 'function ' || r.signature,
  format('The function %s has row_security = off and runs as its caller: it fails with 42501 for everybody whom a policy binds.', r.signature),
  format('alter routine %s reset row_security;', r.signature),
  'function ' || r.signature
from routine r
where not r.definer and exists (select from callable c where c.function = r.function)
  and exists (select from unnest(r.config) c where c ~* '^row_security=(off|false|no|0)$')

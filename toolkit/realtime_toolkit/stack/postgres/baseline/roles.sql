-- What a Supabase project has before its first migration, part 1: roles, their memberships and settings, the
-- database. Idempotent, as every part. Roles are cluster-wide and may be there already, so each is made only where
-- missing; on a cluster of the stack's own, where the bootstrap role is supabase_admin, each is also put right.
-- Run as a superuser; as any other role that may create roles, what only a superuser may do is left out.
-- Facts: nix/tests/expected/{roles,z_17_roles,realtime}.out of supabase/postgres, as of 2026.

set client_min_messages = warning;

create or replace function pg_temp.superuser() returns boolean language sql as
  'select rolsuper from pg_catalog.pg_roles where rolname = current_user';

-- Whether all of the cluster is ours, and so every role in it.
create or replace function pg_temp.own_cluster() returns boolean language sql as
  'select current_user = ''supabase_admin'' and pg_temp.superuser()';

-- Run a statement; without superuser's rights a refusal is no error.
create or replace function pg_temp.attempt(statement text) returns boolean language plpgsql as $$
begin
  execute statement;
  return true;
exception when insufficient_privilege then
  if pg_temp.superuser() then
    raise;
  end if;
  return false;
end
$$;

-- Grants and default privileges by kind of object, as Supabase gives them in schema after schema.
create or replace function pg_temp.grant_by_default(owner text, schema text, to_whom text) returns void
  language plpgsql as $$
declare
  kind text;
begin
  foreach kind in array array['tables', 'functions', 'sequences'] loop
    perform pg_temp.attempt(format(
      'alter default privileges for role %I in schema %I grant all on %s to %s', owner, schema, kind, to_whom
    ));
  end loop;
end
$$;

-- Since Postgres 16 whoever creates a role has to ask for being able to become it.
select set_config('createrole_self_grant', 'set, inherit', false)
where current_setting('server_version_num')::int >= 160000;

do $roles$
declare
  wanted record;
begin
  for wanted in
    select * from (values
      ('anon', 'nologin inherit'),
      ('authenticated', 'nologin inherit'),
      ('service_role', 'nologin inherit bypassrls'),
      ('authenticator', 'login noinherit'),
      ('supabase_admin', 'login superuser createdb createrole replication bypassrls'),
      ('supabase_auth_admin', 'login noinherit createrole'),
      ('supabase_storage_admin', 'login noinherit createrole'),
      ('supabase_functions_admin', 'login noinherit createrole'),
      ('supabase_realtime_admin', 'login noinherit createrole replication'),
      ('supabase_replication_admin', 'login replication'),
      ('supabase_etl_admin', 'login replication'),
      ('supabase_read_only_user', 'login bypassrls'),
      ('pgbouncer', 'login'),
      ('dashboard_user', 'nologin createdb createrole replication'),
      ('postgres', 'login createdb createrole replication bypassrls')
    ) as role (name, attributes)
  loop
    if not exists (select from pg_roles where rolname = wanted.name) then
      begin
        if wanted.name = 'service_role' or pg_temp.superuser() then  -- useless without bypassrls
          execute format('create role %I %s', wanted.name, wanted.attributes);
        elsif not pg_temp.attempt(format('create role %I %s', wanted.name, wanted.attributes)) then
          execute format('create role %I nologin', wanted.name);
        end if;
      exception when duplicate_object or unique_violation then
        null;  -- another stack on the same cluster was faster
      end;
    elsif pg_temp.own_cluster() and wanted.name not in ('postgres', 'supabase_admin') then
      execute format('alter role %I %s', wanted.name, wanted.attributes);  -- data kept from an earlier version
    end if;
  end loop;
end
$roles$;

do $memberships$
declare
  membership record;
  api_role text;
begin
  for membership in
    select * from (values
      ('anon', 'authenticator', false), ('authenticated', 'authenticator', false),
      ('service_role', 'authenticator', false), ('authenticator', 'supabase_storage_admin', false),
      ('anon', 'postgres', true), ('authenticated', 'postgres', true), ('service_role', 'postgres', true),
      -- Since Postgres 16 the admin option is what lets postgres change the role's settings (pgrst.…).
      ('authenticator', 'postgres', true),
      ('pg_monitor', 'postgres', true), ('pg_read_all_data', 'postgres', true),
      ('pg_signal_backend', 'postgres', true), ('pg_create_subscription', 'postgres', false),
      ('pg_read_all_data', 'supabase_read_only_user', false), ('pg_read_all_data', 'supabase_etl_admin', false)
    ) as pair (granted, member, admin)
  loop
    continue when to_regrole(membership.granted) is null;  -- pg_create_subscription is of Postgres 16
    -- Not pg_has_role, which is true of every superuser: one may cease to be one.
    if not exists (
      select from pg_auth_members
      where roleid = membership.granted::regrole and member = membership.member::regrole
        and (admin_option or not membership.admin)
    ) then
      perform pg_temp.attempt(format('grant %I to %I%s', membership.granted, membership.member,
        case when membership.admin then ' with admin option' else '' end));
    end if;
  end loop;
  if pg_temp.own_cluster() and exists (
    select from pg_auth_members
    where roleid = 'supabase_realtime_admin'::regrole and member = 'postgres'::regrole
  ) then  -- data kept from an earlier version
    revoke supabase_realtime_admin from postgres;
  end if;
  if not pg_temp.superuser() then
    foreach api_role in array array['anon', 'authenticated', 'service_role'] loop
      if not pg_has_role(api_role, 'member') then
        perform pg_temp.attempt(format('grant %I to current_user', api_role));
      end if;
      if not pg_has_role(api_role, 'member') then
        raise insufficient_privilege using message =
          format('role %s must be a member of %s: grant %2$s to %1$s', current_user, api_role);
      end if;
    end loop;
  end if;
end
$memberships$;

-- Settings that Supabase gives each role. Compared first: ALTER ROLE on a shared cluster would otherwise
-- make concurrent starts fail with "tuple concurrently updated".
do $settings$
declare
  setting record;
begin
  for setting in
    select * from (values
      ('anon', 'statement_timeout', '3s'),
      ('authenticated', 'statement_timeout', '8s'),
      ('authenticator', 'statement_timeout', '8s'),
      ('authenticator', 'lock_timeout', '8s'),
      ('supabase_auth_admin', 'idle_in_transaction_session_timeout', '60000'),
      ('supabase_auth_admin', 'search_path', 'auth'),
      ('supabase_storage_admin', 'search_path', 'storage'),
      ('supabase_realtime_admin', 'search_path', 'realtime')
    ) as s (role, name, value)
  loop
    if not exists (
      select from pg_roles where rolname = setting.role
      and setting.name || '=' || setting.value = any (rolconfig)
    ) then
      perform pg_temp.attempt(format('alter role %I set %I = %L', setting.role, setting.name, setting.value));
    end if;
  end loop;
end
$settings$;

-- extensions is on the path of whoever works on the schema, not of the API roles: a function of theirs with a bare
-- crypt() fails on a hosted project, and so it must here.
do $database$
begin
  if pg_temp.own_cluster() then
    if exists (
      select from pg_db_role_setting where setrole = 0
        and setdatabase = (select oid from pg_database where datname = current_database())
        and 'search_path="$user", public, extensions' = any (setconfig)
    ) then  -- data kept from an earlier version
      execute format('alter database %I reset search_path', current_database());
    end if;
    alter role postgres set search_path = "$user", public, extensions;
    alter role supabase_admin set search_path = "$user", public, auth, extensions;
    execute format('alter database %I owner to postgres', current_database());
    grant set on parameter session_replication_role to postgres;
    grant set on parameter  -- of PostgREST, for `alter role authenticator set …`
      pgrst.db_aggregates_enabled, pgrst.db_anon_role, pgrst.db_extra_search_path, pgrst.db_max_rows,
      pgrst.db_plan_enabled, pgrst.db_pre_request, pgrst.db_prepared_statements, pgrst.db_root_spec,
      pgrst.db_schemas, pgrst.db_tx_end, pgrst.jwt_aud, pgrst.jwt_role_claim_key, pgrst.jwt_secret,
      pgrst.jwt_secret_is_base64, pgrst.openapi_mode, pgrst.openapi_security_active,
      pgrst.openapi_server_proxy_uri, pgrst.raw_media_types, pgrst.server_trace_header
      to postgres;
    grant execute on function pg_catalog.pg_reload_conf() to postgres with grant option;
  else  -- somebody else's role: for this database only
    execute format('alter role %I in database %I set search_path = "$user", public, extensions',
      current_user, current_database());
  end if;
end
$database$;

reset client_min_messages;

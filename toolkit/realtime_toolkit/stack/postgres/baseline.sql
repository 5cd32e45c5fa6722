-- What a Supabase project has before its first migration: roles, default grants, the schemas auth and
-- extensions, the empty publication, per-role timeouts, and the DDL triggers that make PostgREST reload.
-- The schema realtime follows in realtime.sql. Idempotent. Roles are cluster-wide and may be there already,
-- so each is made only where missing. Run as a superuser (supabase_admin on a server of the stack's own);
-- as any other role that may create roles, what only a superuser may do is left out.

set client_min_messages = warning;

create or replace function pg_temp.superuser() returns boolean language sql as
  'select rolsuper from pg_catalog.pg_roles where rolname = current_user';

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

-- Since Postgres 16 whoever creates a role has to ask for being able to become it.
select set_config('createrole_self_grant', 'set, inherit', false)
where current_setting('server_version_num')::int >= 160000;

-- Roles -------------------------------------------------------------------------------------------

do $roles$
declare
  wanted record;
begin
  for wanted in
    select * from (values
      ('anon', 'nologin noinherit'),
      ('authenticated', 'nologin noinherit'),
      ('service_role', 'nologin noinherit bypassrls'),
      ('authenticator', 'login noinherit'),
      ('supabase_admin', 'login superuser createdb createrole replication bypassrls'),
      ('supabase_auth_admin', 'login noinherit createrole'),
      ('supabase_realtime_admin', 'nologin noinherit'),
      ('supabase_replication_admin', 'login replication'),
      ('supabase_read_only_user', 'login bypassrls'),
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
      ('anon', 'authenticator'), ('authenticated', 'authenticator'), ('service_role', 'authenticator'),
      ('anon', 'postgres'), ('authenticated', 'postgres'), ('service_role', 'postgres'),
      ('authenticator', 'postgres'), ('supabase_realtime_admin', 'postgres'),
      ('pg_monitor', 'postgres'), ('pg_read_all_data', 'postgres'), ('pg_signal_backend', 'postgres'),
      ('pg_read_all_data', 'supabase_read_only_user')
    ) as pair (granted, member)
  loop
    -- Not pg_has_role, which is true of every superuser: one may cease to be one.
    if not exists (
      select from pg_auth_members
      where roleid = membership.granted::regrole and member = membership.member::regrole
    ) then
      perform pg_temp.attempt(format('grant %I to %I', membership.granted, membership.member));
    end if;
  end loop;
  -- Hosted postgres may change the settings of authenticator (pgrst.…); since Postgres 16 that takes the admin option.
  if not exists (
    select from pg_auth_members
    where roleid = 'authenticator'::regrole and member = 'postgres'::regrole and admin_option
  ) then
    perform pg_temp.attempt('grant authenticator to postgres with admin option');
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
      ('supabase_auth_admin', 'search_path', 'auth')
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

do $database$
begin
  execute format('alter database %I set search_path = "$user", public, extensions', current_database());
  -- Only on a cluster of our own, where the bootstrap role is supabase_admin: there postgres owns its database.
  if current_user = 'supabase_admin' then
    execute format('alter database %I owner to postgres', current_database());
    grant set on parameter session_replication_role to postgres;
    grant set on parameter  -- of PostgREST, for `alter role authenticator set …`
      pgrst.db_aggregates_enabled, pgrst.db_anon_role, pgrst.db_extra_search_path, pgrst.db_max_rows,
      pgrst.db_plan_enabled, pgrst.db_pre_request, pgrst.db_prepared_statements, pgrst.db_root_spec,
      pgrst.db_schemas, pgrst.db_tx_end, pgrst.jwt_aud, pgrst.jwt_role_claim_key, pgrst.jwt_secret,
      pgrst.jwt_secret_is_base64, pgrst.openapi_mode, pgrst.openapi_security_active,
      pgrst.openapi_server_proxy_uri, pgrst.raw_media_types, pgrst.server_trace_header
      to postgres;
  end if;
end
$database$;

-- Schema public -----------------------------------------------------------------------------------

grant usage on schema public to postgres, anon, authenticated, service_role;
grant create on schema public to postgres;

alter default privileges in schema public
  grant all on tables to postgres, anon, authenticated, service_role;
alter default privileges in schema public
  grant all on functions to postgres, anon, authenticated, service_role;
alter default privileges in schema public
  grant all on sequences to postgres, anon, authenticated, service_role;
do $defaults$
declare
  kind text;
begin
  foreach kind in array array['tables', 'functions', 'sequences'] loop
    perform pg_temp.attempt(format(
      'alter default privileges for role postgres in schema public'
      ' grant all on %s to postgres, anon, authenticated, service_role', kind
    ));
  end loop;
end
$defaults$;

-- Schema extensions -------------------------------------------------------------------------------

create schema if not exists extensions;
grant usage on schema extensions to postgres, anon, authenticated, service_role;
grant all on schema extensions to postgres, dashboard_user;

do $extensions$
declare
  wanted text;
begin
  foreach wanted in array array['pgcrypto', 'uuid-ossp'] loop
    if exists (select from pg_available_extensions where name = wanted) then
      perform pg_temp.attempt(format('create extension if not exists %I with schema extensions', wanted));
    end if;
  end loop;
end
$extensions$;

-- The embedded server carries no contrib modules. These few functions of pgcrypto and uuid-ossp stand in
-- for them there, because migrations in the wild call them; nothing is made where the real ones are.
do $stand_ins$
begin
  if not exists (select from pg_extension where extname = 'uuid-ossp') then
    create or replace function extensions.uuid_generate_v4() returns uuid
      language sql volatile parallel safe as 'select pg_catalog.gen_random_uuid()';
  end if;
  if not exists (select from pg_extension where extname = 'pgcrypto') then
    create or replace function extensions.digest(data bytea, type text) returns bytea
      language plpgsql immutable strict parallel safe set search_path = '' as $body$
      begin
        return case lower(type)
          when 'md5' then decode(md5(data), 'hex')
          when 'sha224' then sha224(data)
          when 'sha256' then sha256(data)
          when 'sha384' then sha384(data)
          when 'sha512' then sha512(data)
        end;
      end $body$;
    create or replace function extensions.digest(data text, type text) returns bytea
      language sql immutable strict parallel safe
      as 'select extensions.digest(pg_catalog.convert_to(data, ''UTF8''), type)';
    create or replace function extensions.gen_random_bytes(count integer) returns bytea
      language sql volatile strict parallel safe as $body$
      select pg_catalog.substring(pg_catalog.string_agg(pg_catalog.sha256(
        pg_catalog.uuid_send(pg_catalog.gen_random_uuid()) || pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
      ), ''), 1, count) from pg_catalog.generate_series(1, (count + 31) / 32)
      $body$;
  end if;
end
$stand_ins$;

-- Schema auth -------------------------------------------------------------------------------------

create schema if not exists auth;
select pg_temp.attempt('alter schema auth owner to supabase_auth_admin');
grant usage on schema auth to anon, authenticated, service_role, postgres;
grant all on schema auth to dashboard_user;

create table if not exists auth.users (
  instance_id uuid,
  id uuid not null primary key,
  aud varchar(255),
  role varchar(255),
  email varchar(255),
  encrypted_password varchar(255),
  email_confirmed_at timestamptz,
  invited_at timestamptz,
  confirmation_token varchar(255),
  confirmation_sent_at timestamptz,
  recovery_token varchar(255),
  recovery_sent_at timestamptz,
  email_change_token_new varchar(255),
  email_change varchar(255),
  email_change_sent_at timestamptz,
  last_sign_in_at timestamptz,
  raw_app_meta_data jsonb,
  raw_user_meta_data jsonb,
  is_super_admin boolean,
  created_at timestamptz,
  updated_at timestamptz,
  phone text unique default null,
  phone_confirmed_at timestamptz,
  phone_change text default '',
  phone_change_token varchar(255) default '',
  phone_change_sent_at timestamptz,
  confirmed_at timestamptz generated always as (least(email_confirmed_at, phone_confirmed_at)) stored,
  email_change_token_current varchar(255) default '',
  email_change_confirm_status smallint default 0 check (email_change_confirm_status between 0 and 2),
  banned_until timestamptz,
  reauthentication_token varchar(255) default '',
  reauthentication_sent_at timestamptz,
  is_sso_user boolean not null default false,
  deleted_at timestamptz,
  is_anonymous boolean not null default false
);
create unique index if not exists users_email_partial_key on auth.users (email) where is_sso_user = false;
create index if not exists users_instance_id_email_idx on auth.users (instance_id, lower(email::text));

create table if not exists auth.identities (
  id uuid not null primary key default gen_random_uuid(),
  provider_id text not null,
  user_id uuid not null references auth.users on delete cascade,
  identity_data jsonb not null,
  provider text not null,
  last_sign_in_at timestamptz,
  created_at timestamptz,
  updated_at timestamptz,
  email text generated always as (lower(identity_data ->> 'email')) stored,
  unique (provider_id, provider)
);
create index if not exists identities_user_id_idx on auth.identities (user_id);

create table if not exists auth.sessions (
  id uuid not null primary key,
  user_id uuid not null references auth.users on delete cascade,
  created_at timestamptz,
  updated_at timestamptz,
  factor_id uuid,
  aal text default 'aal1',
  not_after timestamptz,
  refreshed_at timestamp,
  user_agent text,
  ip inet,
  tag text
);
create index if not exists sessions_user_id_idx on auth.sessions (user_id);

create table if not exists auth.refresh_tokens (
  instance_id uuid,
  id bigserial primary key,
  token varchar(255) unique,
  user_id varchar(255),
  revoked boolean,
  created_at timestamptz,
  updated_at timestamptz,
  parent varchar(255),
  session_id uuid references auth.sessions on delete cascade
);
create index if not exists refresh_tokens_session_id_revoked_idx on auth.refresh_tokens (session_id, revoked);

-- PostgREST sets request.jwt.claims; versions before 9 set one setting per claim, which wins here as there.
create or replace function auth.uid() returns uuid language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.sub', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
  )::uuid
$$;
create or replace function auth.role() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.role', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
  )
$$;
create or replace function auth.email() returns text language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim.email', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'email'
  )
$$;
create or replace function auth.jwt() returns jsonb language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')
  )::jsonb
$$;

do $owners$
declare
  item text;
begin
  foreach item in array array['users', 'identities', 'sessions', 'refresh_tokens'] loop
    execute format('alter table auth.%I enable row level security', item);
    execute format('grant all on auth.%I to postgres, dashboard_user', item);
    perform pg_temp.attempt(format('alter table auth.%I owner to supabase_auth_admin', item));
  end loop;
  foreach item in array array['uid', 'role', 'email', 'jwt'] loop
    execute format('grant execute on function auth.%I() to public, dashboard_user', item);
    perform pg_temp.attempt(format('alter function auth.%I() owner to supabase_auth_admin', item));
  end loop;
  grant usage, select on sequence auth.refresh_tokens_id_seq to postgres, dashboard_user;
  foreach item in array array['tables', 'functions', 'sequences'] loop
    perform pg_temp.attempt(format(
      'alter default privileges for role supabase_auth_admin in schema auth'
      ' grant all on %s to postgres, dashboard_user', item
    ));
  end loop;
end
$owners$;

-- Publication -------------------------------------------------------------------------------------

do $publication$
begin
  if not exists (select from pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
    if current_user = 'supabase_admin' then
      alter publication supabase_realtime owner to postgres;
    end if;
  end if;
end
$publication$;

-- PostgREST reloads its schema cache after DDL ------------------------------------------------------

create or replace function extensions.pgrst_ddl_watch() returns event_trigger
  language plpgsql set search_path = '' as $$
begin
  if exists (
    select from pg_catalog.pg_event_trigger_ddl_commands() as command
    where command.schema_name is distinct from 'pg_temp'
      and command.command_tag in (
        'CREATE SCHEMA', 'ALTER SCHEMA',
        'CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO', 'ALTER TABLE',
        'CREATE FOREIGN TABLE', 'ALTER FOREIGN TABLE',
        'CREATE VIEW', 'ALTER VIEW', 'CREATE MATERIALIZED VIEW', 'ALTER MATERIALIZED VIEW',
        'CREATE FUNCTION', 'ALTER FUNCTION', 'CREATE PROCEDURE', 'ALTER PROCEDURE',
        'CREATE TRIGGER', 'CREATE TYPE', 'ALTER TYPE', 'CREATE DOMAIN', 'ALTER DOMAIN',
        'CREATE RULE', 'COMMENT'
      )
  ) then
    notify pgrst, 'reload schema';
  end if;
end
$$;

create or replace function extensions.pgrst_drop_watch() returns event_trigger
  language plpgsql set search_path = '' as $$
begin
  if exists (
    select from pg_catalog.pg_event_trigger_dropped_objects() as dropped
    where not dropped.is_temporary
      and dropped.object_type in (
        'schema', 'table', 'foreign table', 'view', 'materialized view',
        'function', 'procedure', 'trigger', 'type', 'domain', 'rule'
      )
  ) then
    notify pgrst, 'reload schema';
  end if;
end
$$;

do $triggers$
begin
  if pg_temp.superuser() then
    drop event trigger if exists pgrst_ddl_watch;
    create event trigger pgrst_ddl_watch on ddl_command_end execute function extensions.pgrst_ddl_watch();
    drop event trigger if exists pgrst_drop_watch;
    create event trigger pgrst_drop_watch on sql_drop execute function extensions.pgrst_drop_watch();
  end if;
end
$triggers$;

reset client_min_messages;

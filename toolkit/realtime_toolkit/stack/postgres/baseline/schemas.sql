-- Part 2: the schemas public, extensions and those of GraphQL; the preinstalled extensions; the empty publication;
-- the DDL triggers that make PostgREST reload. Facts: migrations/schema-17.sql of supabase/postgres, as of 2026,
-- where pg_graphql is off by default.

set client_min_messages = warning;

grant usage on schema public to postgres, anon, authenticated, service_role;
grant create on schema public to postgres;
select pg_temp.grant_by_default(owner, 'public', 'postgres, anon, authenticated, service_role')
from unnest(array[current_user, 'postgres']) as owner;

create schema if not exists extensions;
select pg_temp.attempt('alter schema extensions owner to postgres') where pg_temp.own_cluster();
grant usage on schema extensions to postgres, anon, authenticated, service_role;
grant all on schema extensions to postgres, dashboard_user;
select pg_temp.grant_by_default(current_user, 'extensions', 'postgres with grant option');

-- What stands in for an extension's names without having been created (pg_cron, pg_net, pgmq, vault) becomes a part of the
-- extension when a migration creates it: jobs and messages stay. Called by the script of the stand-in.
create or replace function extensions.toolkit_adopt(extension text, schema text) returns void
  language plpgsql set search_path = '' as $$
declare
  item record;
begin
  if not exists (select from pg_catalog.pg_extension where extname = extension) then
    return;  -- it is the baseline that runs the script
  end if;
  for item in
    select pg_catalog.replace(known.type, 'composite type', 'type') as kind, known.identity
    from (
      select 'pg_catalog.pg_class'::regclass, c.oid from pg_catalog.pg_class c
      where c.relnamespace = schema::regnamespace and c.relkind in ('r', 'v', 'S', 'c')
        and not (schema = 'pgmq' and c.relname ~ '^[qa]_')  -- queues: dropped one by one
      union all
      select 'pg_catalog.pg_proc'::regclass, p.oid from pg_catalog.pg_proc p where p.pronamespace = schema::regnamespace
      union all
      select 'pg_catalog.pg_type'::regclass, t.oid from pg_catalog.pg_type t
      where t.typnamespace = schema::regnamespace and t.typtype in ('d', 'e')
    ) as o (classid, objid), pg_catalog.pg_identify_object(o.classid, o.objid, 0) as known
    where not exists (
      select from pg_catalog.pg_depend d where d.classid = o.classid and d.objid = o.objid and d.deptype = 'e'
    )
  loop
    execute pg_catalog.format('alter extension %I add %s %s', extension, item.kind, item.identity);
  end loop;
end
$$;
revoke execute on function extensions.toolkit_adopt(text, text) from public;

do $extensions$
declare
  wanted record;
begin
  for wanted in
    select a.name, p.schema
    from (values
      ('uuid-ossp', 'extensions'), ('pgcrypto', 'extensions'), ('pg_stat_statements', 'extensions'),
      ('supabase_vault', 'vault')
    ) as p (name, schema)
    join pg_available_extensions a using (name) where a.installed_version is null
  loop
    execute format('create schema if not exists %I', wanted.schema);
    perform pg_temp.attempt(format('create extension %I with schema %I', wanted.name, wanted.schema));
  end loop;
end
$extensions$;

-- GraphQL -----------------------------------------------------------------------------------------

create schema if not exists graphql;
create schema if not exists graphql_public;
grant usage on schema graphql, graphql_public to postgres, anon, authenticated, service_role;
select pg_temp.grant_by_default(current_user, schema, 'postgres, anon, authenticated, service_role')
from unnest(array['graphql', 'graphql_public']) as schema;

-- What PostgREST calls for /graphql/v1. A project without the extension gives the same answer.
create or replace function graphql_public.graphql(
  "operationName" text default null, query text default null, variables jsonb default null,
  extensions jsonb default null
) returns jsonb language plpgsql as $$
declare
  answer jsonb;
begin
  if not exists (select from pg_catalog.pg_extension where extname = 'pg_graphql') then
    return '{"errors": [{"message": "pg_graphql extension is not enabled."}]}';
  end if;
  execute 'select graphql.resolve($1, $2, $3, $4)' into answer
    using query, coalesce(variables, '{}'), "operationName", extensions;
  return answer;
end
$$;

-- Publication -------------------------------------------------------------------------------------

do $publication$
begin
  if not exists (select from pg_publication where pubname = 'supabase_realtime') then
    create publication supabase_realtime;
    if pg_temp.own_cluster() then
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

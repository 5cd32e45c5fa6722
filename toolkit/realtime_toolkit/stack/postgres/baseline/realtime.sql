-- Part 6: the schema realtime: broadcast from the database, authorization of private channels. Names, signatures and
-- effects are those of hosted Supabase; realtime.messages holds the messages sent from SQL, and its policies decide who
-- may join and write to private topics. Its partitions, one a day, and the publication of it are the Realtime server's to
-- make, as there. Facts: FACTS.md beside the recordings; a dump of a hosted project (Postgres 17.6, 2026).

set client_min_messages = warning;

create schema if not exists realtime;
grant usage on schema realtime to anon, authenticated, service_role;
grant usage on schema realtime to postgres with grant option;
grant all on schema realtime to supabase_realtime_admin with grant option;

create table if not exists realtime.messages (
  topic text not null,
  extension text not null,
  payload jsonb,
  event text,
  private boolean default false,
  updated_at timestamp not null default now(),
  inserted_at timestamp not null default now(),
  id uuid not null default gen_random_uuid(),
  binary_payload bytea,
  primary key (id, inserted_at)
) partition by range (inserted_at);

do $messages$
begin
  if not exists (
    select from pg_constraint
    where conrelid = 'realtime.messages'::regclass and conname = 'messages_payload_exclusive'
  ) then
    alter table realtime.messages add constraint messages_payload_exclusive
      check (payload is null or binary_payload is null) not valid;
  end if;
  -- A default partition, in data kept from an earlier version: what is in it keeps that day's partition from being made.
  drop table if exists realtime.messages_default;
end
$messages$;

create index if not exists messages_inserted_at_topic_index on realtime.messages (inserted_at desc, topic)
  where extension = 'broadcast' and private is true;

alter table realtime.messages enable row level security;
grant select, insert, update on realtime.messages to anon, authenticated, service_role;
grant all on realtime.messages to postgres, dashboard_user;

-- The topic that the current statement is about: of the channel being authorized, or being sent to.
create or replace function realtime.topic() returns text
  language sql stable as $$
  select nullif(current_setting('realtime.topic', true), '')
$$;

-- Sends a broadcast when the transaction commits. Every failure (a policy, a payload that is not an
-- object, a missing partition) is only a warning in the log: the caller's transaction goes on.
create or replace function realtime.send(payload jsonb, event text, topic text, private boolean default true)
  returns void language plpgsql as $$
declare
  message_id uuid := gen_random_uuid();
  message jsonb;
begin
  begin
    message := case when payload ? 'id' then payload else jsonb_set(payload, '{id}', to_jsonb(message_id)) end;
    perform set_config('realtime.topic', topic, true);
    insert into realtime.messages (id, payload, event, topic, private, extension)
    values (message_id, message, event, topic, private, 'broadcast');
  exception when others then
    raise warning 'WarnSendingBroadcastMessage: %', sqlerrm;
  end;
end
$$;

create or replace function realtime.send_binary(
  payload bytea, event text, topic text, private boolean default true
) returns void language plpgsql as $$
begin
  begin
    perform set_config('realtime.topic', topic, true);
    insert into realtime.messages (binary_payload, event, topic, private, extension)
    values (payload, event, topic, private, 'broadcast');
  exception when others then
    raise warning 'WarnSendingBroadcastMessage: %', sqlerrm;
  end;
end
$$;

-- For row triggers: sends the change as {schema, table, operation, record, old_record}, always private.
create or replace function realtime.broadcast_changes(
  topic_name text, event_name text, operation text, table_name text, table_schema text,
  new record, old record, level text default 'ROW'
) returns void language plpgsql as $$
declare
  change jsonb;
begin
  if level = 'STATEMENT' then
    raise exception 'function can only be triggered for each row, not for each statement';
  end if;
  if (operation in ('INSERT', 'UPDATE', 'DELETE')) is not true then
    raise exception 'Unexpected operation type: %', operation;
  end if;
  change := jsonb_build_object(
    'schema', table_schema, 'table', table_name, 'operation', operation, 'record', new, 'old_record', old
  );
  perform realtime.send(change, event_name, topic_name);
exception when others then
  raise exception 'Failed to process the row: %', sqlerrm;
end
$$;

grant execute on function realtime.topic(), realtime.send(jsonb, text, text, boolean),
  realtime.send_binary(bytea, text, text, boolean),
  realtime.broadcast_changes(text, text, text, text, text, record, record, text) to public, postgres, dashboard_user;

-- Subscriptions to postgres_changes -----------------------------------------------------------------

-- There for migrations and policies that name them. The stack's server keeps subscriptions in its memory, so the table
-- stays empty; the genuine one's functions on the WAL (apply_rls, list_changes, …) are not here.
do $types$
begin
  if to_regtype('realtime.action') is null then
    create type realtime.action as enum ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'ERROR');
    create type realtime.equality_op as enum (
      'eq', 'neq', 'lt', 'lte', 'gt', 'gte', 'in', 'like', 'ilike', 'is', 'match', 'imatch', 'isdistinct');
    create type realtime.user_defined_filter as (column_name text, op realtime.equality_op, value text, negate boolean);
    create type realtime.wal_column as (
      name text, type_name text, type_oid oid, value jsonb, is_pkey boolean, is_selectable boolean);
    create type realtime.wal_rls as (wal jsonb, is_rls_enabled boolean, subscription_ids uuid[], errors text[]);
  end if;
end
$types$;

create or replace function realtime.to_regrole(role_name text) returns regrole
  language sql immutable as $$ select role_name::regrole $$;

create table if not exists realtime.subscription (
  id bigint generated always as identity constraint pk_subscription primary key,
  subscription_id uuid not null,
  entity regclass not null,
  filters realtime.user_defined_filter[] not null default '{}',
  claims jsonb not null,
  claims_role regrole not null generated always as (realtime.to_regrole(claims ->> 'role')) stored,
  created_at timestamp not null default timezone('utc', now()),
  action_filter text default '*' check (action_filter in ('*', 'INSERT', 'UPDATE', 'DELETE')),
  selected_columns text[]
);
create index if not exists ix_realtime_subscription_entity on realtime.subscription (entity);
grant select on realtime.subscription to anon, authenticated, service_role;
grant all on realtime.subscription to postgres, dashboard_user;

create table if not exists realtime.schema_migrations (
  version bigint primary key,
  inserted_at timestamp(0) default now()
);
grant all on realtime.schema_migrations to postgres, dashboard_user;

-- The stack's own -----------------------------------------------------------------------------------

-- Tells the server, in the WAL and so in its place, that the catalogue changed: who may see what must be
-- looked up again. Where event triggers cannot be made, the server looks up everything every time.
create or replace function realtime.toolkit_ddl_notice() returns event_trigger
  language plpgsql security definer set search_path = '' as $$
begin
  perform pg_catalog.pg_logical_emit_message(true, 'toolkit', 'ddl');
end
$$;

do $superuser$
declare
  item text;
begin
  if pg_temp.superuser() then
    alter table realtime.messages owner to supabase_realtime_admin;
    alter table realtime.subscription owner to supabase_realtime_admin;
    foreach item in array array['topic()', 'send(jsonb, text, text, boolean)', 'send_binary(bytea, text, text, boolean)',
      'broadcast_changes(text, text, text, text, text, record, record, text)', 'to_regrole(text)'] loop
      execute format('alter function realtime.%s owner to supabase_realtime_admin', item);
    end loop;
    foreach item in array array['action', 'equality_op', 'user_defined_filter', 'wal_column', 'wal_rls'] loop
      execute format('alter type realtime.%I owner to supabase_realtime_admin', item);
    end loop;
    drop event trigger if exists toolkit_ddl_notice;
    create event trigger toolkit_ddl_notice on ddl_command_end execute function realtime.toolkit_ddl_notice();
    drop event trigger if exists toolkit_drop_notice;
    create event trigger toolkit_drop_notice on sql_drop execute function realtime.toolkit_ddl_notice();
  end if;
end
$superuser$;
select pg_temp.grant_by_default(current_user, 'realtime', 'postgres, dashboard_user');

reset client_min_messages;

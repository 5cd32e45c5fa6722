-- Schema realtime: broadcast from the database, authorization of private channels. Follows baseline.sql.
-- Idempotent. Names, signatures and effects are those of hosted Supabase; realtime.messages holds the
-- messages sent from SQL, and its policies decide who may join and write to private topics.

set client_min_messages = warning;

create schema if not exists realtime;
grant usage on schema realtime to postgres, anon, authenticated, service_role;
grant all on schema realtime to supabase_realtime_admin;

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

-- One partition a day is made by the server; what falls outside of them still has a place.
create table if not exists realtime.messages_default partition of realtime.messages default;

create index if not exists messages_inserted_at_topic_index on realtime.messages (inserted_at desc, topic)
  where extension = 'broadcast' and private;

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
  change := jsonb_build_object(
    'schema', table_schema, 'table', table_name, 'operation', operation, 'record', new, 'old_record', old
  );
  perform realtime.send(change, event_name, topic_name);
exception when others then
  raise exception 'Failed to process the row: %', sqlerrm;
end
$$;

grant execute on function realtime.topic() to public, dashboard_user;

-- The server reads sent messages from the WAL, under the name of the leaf's root.
do $publication$
begin
  if not exists (select from pg_publication where pubname = 'supabase_realtime_messages_publication') then
    create publication supabase_realtime_messages_publication for table realtime.messages
      with (publish = 'insert', publish_via_partition_root = true);
  end if;
end
$publication$;

-- Tells the server, in the WAL and so in its place, that the catalogue changed: who may see what must be
-- looked up again. Where event triggers cannot be made, the server looks up everything every time.
create or replace function realtime.toolkit_ddl_notice() returns event_trigger
  language plpgsql security definer set search_path = '' as $$
begin
  perform pg_catalog.pg_logical_emit_message(true, 'toolkit', 'ddl');
end
$$;

do $superuser$
begin
  if exists (select from pg_roles where rolname = current_user and rolsuper) then
    alter table realtime.messages owner to supabase_realtime_admin;
    alter table realtime.messages_default owner to supabase_realtime_admin;
    drop event trigger if exists toolkit_ddl_notice;
    create event trigger toolkit_ddl_notice on ddl_command_end execute function realtime.toolkit_ddl_notice();
    drop event trigger if exists toolkit_drop_notice;
    create event trigger toolkit_drop_notice on sql_drop execute function realtime.toolkit_ddl_notice();
  end if;
end
$superuser$;

reset client_min_messages;

-- Part 5: database webhooks, as `supabase start` and the dashboard set them up: triggers that the dashboard makes, and
-- `db pull` writes into migrations, call supabase_functions.http_request. Here it sends nothing, and says so once a session.
-- Facts: the Supabase CLI's webhook.sql; a dump of a hosted project.

set client_min_messages = warning;

create schema if not exists supabase_functions;
grant usage on schema supabase_functions to postgres, anon, authenticated, service_role;
grant all on schema supabase_functions to supabase_functions_admin;

create table if not exists supabase_functions.migrations (
  version text primary key,
  inserted_at timestamptz not null default now()
);
create table if not exists supabase_functions.hooks (
  id bigserial primary key,
  hook_table_id integer not null,
  hook_name text not null,
  created_at timestamptz not null default now(),
  request_id bigint
);
create index if not exists supabase_functions_hooks_request_id_idx on supabase_functions.hooks (request_id);
create index if not exists supabase_functions_hooks_h_table_id_h_name_idx
  on supabase_functions.hooks (hook_table_id, hook_name);

-- Arguments: url, method (GET or POST), headers, parameters, timeout in milliseconds. What the genuine one refuses, this
-- one refuses: a row whose webhook cannot work is not written there either.
create or replace function supabase_functions.http_request() returns trigger
  language plpgsql security definer set search_path = '' as $$
declare
  url text := nullif(tg_argv[0], 'null');
  method text := nullif(tg_argv[1], 'null');
begin
  if url is null then
    raise exception 'url argument is missing';
  end if;
  if method is null then
    raise exception 'method argument is missing';
  end if;
  if method not in ('GET', 'POST') then
    raise exception 'method argument % is invalid', method;
  end if;
  perform coalesce(tg_argv[2], '{}')::jsonb, coalesce(tg_argv[3], '{}')::jsonb, coalesce(tg_argv[4], '1000')::int;
  if current_setting('toolkit.told_of_webhooks', true) is distinct from 'yes' then
    perform set_config('toolkit.told_of_webhooks', 'yes', false);
    raise notice 'supabase_functions.http_request is a stand-in of the local stack: no webhook is called (trigger %)', tg_name;
  end if;
  return new;
end
$$;

grant all on all tables in schema supabase_functions to supabase_functions_admin, postgres, anon, authenticated, service_role;
grant all on all sequences in schema supabase_functions to supabase_functions_admin, postgres, anon, authenticated, service_role;
grant execute on function supabase_functions.http_request() to postgres, anon, authenticated, service_role;
revoke execute on function supabase_functions.http_request() from public;
do $owners$
begin
  perform pg_temp.attempt('alter table supabase_functions.migrations owner to supabase_functions_admin');
  perform pg_temp.attempt('alter table supabase_functions.hooks owner to supabase_functions_admin');
  perform pg_temp.attempt('alter function supabase_functions.http_request() owner to supabase_functions_admin');
end
$owners$;

reset client_min_messages;

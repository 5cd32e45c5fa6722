-- pg_net's names without its worker: requests stay in the queue, none is ever sent and no answer comes. Run by `create
-- extension pg_net`, and as a part of the baseline. Facts: the documentation of supabase/pg_net; nix/tests/expected of
-- supabase/postgres.

do $adopt$
begin
  if to_regnamespace('net') is null then
    create schema net;
  elsif to_regproc('extensions.toolkit_adopt') is not null then
    perform extensions.toolkit_adopt('pg_net', 'net');
  end if;
  if to_regtype('net.request_status') is null then
    create domain net.http_method as text check (value ilike 'get' or value ilike 'post' or value ilike 'delete');
    create type net.request_status as enum ('PENDING', 'SUCCESS', 'ERROR');
    create type net.http_response as (status_code integer, headers jsonb, body text);
    create type net.http_response_result as (status net.request_status, message text, response net.http_response);
  end if;
end
$adopt$;

create table if not exists net.http_request_queue (
  id bigserial,
  method net.http_method not null,
  url text not null,
  headers jsonb,
  body bytea,
  timeout_milliseconds integer not null
);
create table if not exists net._http_response (
  id bigint,
  status_code integer,
  content_type text,
  headers jsonb,
  content text,
  timed_out boolean,
  error_msg text,
  created timestamptz not null default now()
);
create index if not exists _http_response_created_idx on net._http_response (created);

create or replace function net._record(method text, url text, params jsonb, headers jsonb, body bytea, timeout_milliseconds integer)
  returns bigint language plpgsql security definer set search_path = '' as $$
declare
  parameters text;
  request bigint;
begin
  if url is null then
    raise not_null_violation using message = 'null value in column "url" of relation "http_request_queue" violates not-null constraint';
  end if;
  select string_agg(key || '=' || value, '&') into parameters from jsonb_each_text(coalesce(params, '{}'));
  insert into net.http_request_queue (method, url, headers, body, timeout_milliseconds)
  values (method, url || coalesce(case when position('?' in url) > 0 then '&' else '?' end || parameters, ''),
    headers, body, timeout_milliseconds)
  returning id into request;
  raise notice 'pg_net is a stand-in of the local stack: request % is recorded, and never sent', request;
  return request;
end
$$;
revoke execute on function net._record(text, text, jsonb, jsonb, bytea, integer) from public;

-- SECURITY DEFINER, as Supabase makes them, so that nobody needs the helper.
create or replace function net.http_get(
  url text, params jsonb default '{}', headers jsonb default '{}', timeout_milliseconds integer default 5000
) returns bigint language sql security definer set search_path = '' as $$
  select net._record('GET', url, params, headers, null, timeout_milliseconds)
$$;
create or replace function net.http_post(
  url text, body jsonb default '{}', params jsonb default '{}',
  headers jsonb default '{"Content-Type": "application/json"}', timeout_milliseconds integer default 5000
) returns bigint language sql security definer set search_path = '' as $$
  select net._record('POST', url, params, headers, convert_to(body::text, 'UTF8'), timeout_milliseconds)
$$;
create or replace function net.http_delete(
  url text, params jsonb default '{}', headers jsonb default '{}', timeout_milliseconds integer default 5000,
  body jsonb default null
) returns bigint language sql security definer set search_path = '' as $$
  select net._record('DELETE', url, params, headers, convert_to(body::text, 'UTF8'), timeout_milliseconds)
$$;

-- Never waits: nothing would come.
create or replace function net._http_collect_response(request_id bigint, async boolean default true)
  returns net.http_response_result language plpgsql set search_path = '' as $$
begin
  raise notice 'pg_net is a stand-in of the local stack: request % is never answered', request_id;
  return row('PENDING', 'request is not sent by the local stack', null)::net.http_response_result;
end
$$;
create or replace function net.http_collect_response(request_id bigint, async boolean default true)
  returns net.http_response_result language sql set search_path = '' as $$
  select net._http_collect_response(request_id, async)
$$;

do $grants$
begin
  grant usage on schema net to postgres, anon, authenticated, service_role;
  if to_regrole('supabase_functions_admin') is not null then
    grant usage on schema net to supabase_functions_admin;
  end if;
end
$grants$;
grant all on net.http_request_queue, net._http_response to public;
grant usage on sequence net.http_request_queue_id_seq to public;

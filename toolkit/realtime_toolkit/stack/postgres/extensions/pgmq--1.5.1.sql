-- pgmq: message queues in tables. Works as the genuine one (which is SQL and PL/pgSQL, too), but for partitioned queues. Run
-- by `create extension pgmq`, and as a part of the baseline. Facts: the API reference of pgmq/pgmq 1.5.

do $adopt$
begin
  if to_regnamespace('pgmq') is null then
    create schema pgmq;
  elsif to_regproc('extensions.toolkit_adopt') is not null then
    perform extensions.toolkit_adopt('pgmq', 'pgmq');
  end if;
  if to_regtype('pgmq.message_record') is null then
    create type pgmq.message_record as (
      msg_id bigint, read_ct integer, enqueued_at timestamptz, vt timestamptz, message jsonb, headers jsonb);
    create type pgmq.queue_record as (
      queue_name varchar, is_partitioned boolean, is_unlogged boolean, created_at timestamptz);
    create type pgmq.metrics_result as (
      queue_name text, queue_length bigint, newest_msg_age_sec int, oldest_msg_age_sec int, total_messages bigint,
      scrape_time timestamptz, queue_visible_length bigint);
  end if;
end
$adopt$;

create table if not exists pgmq.meta (
  queue_name varchar unique not null,
  is_partitioned boolean not null,
  is_unlogged boolean not null,
  created_at timestamptz not null default now()
);

-- The name of a queue's table (prefix q) or of its archive (a), lower-cased as genuinely.
create or replace function pgmq.format_table_name(queue_name text, prefix text) returns text language plpgsql as $$
begin
  if queue_name ~ '\$|;|--|''' then
    raise exception 'queue name contains invalid characters: $, ;, --, or \''';
  end if;
  return lower(prefix || '_' || queue_name);
end
$$;
create or replace function pgmq.validate_queue_name(queue_name text) returns void language plpgsql as $$
begin
  if length(queue_name) > 47 then
    raise exception 'queue name is too long, maximum length is 47 characters';
  end if;
end
$$;

-- Queues ------------------------------------------------------------------------------------------

create or replace function pgmq._create(queue_name text, logged boolean) returns void language plpgsql as $$
declare
  queue text := pgmq.format_table_name(queue_name, 'q');
  archive text := pgmq.format_table_name(queue_name, 'a');
begin
  perform pgmq.validate_queue_name(queue_name);
  execute format(
    'create %s table if not exists pgmq.%I (msg_id bigint primary key generated always as identity,'
    ' read_ct int not null default 0, enqueued_at timestamptz not null default now(), vt timestamptz not null,'
    ' message jsonb, headers jsonb)', case when logged then '' else 'unlogged' end, queue);
  execute format(
    'create table if not exists pgmq.%I (msg_id bigint primary key, read_ct int not null default 0,'
    ' enqueued_at timestamptz not null default now(), archived_at timestamptz not null default now(),'
    ' vt timestamptz not null, message jsonb, headers jsonb)', archive);
  execute format('create index if not exists %I on pgmq.%I (vt asc)', queue || '_vt_idx', queue);
  execute format('create index if not exists %I on pgmq.%I (archived_at)', 'archived_at_idx_' || queue_name, archive);
  insert into pgmq.meta (queue_name, is_partitioned, is_unlogged) values (queue_name, false, not logged)
  on conflict do nothing;
end
$$;
create or replace function pgmq.create_non_partitioned(queue_name text) returns void language sql as $$
  select pgmq._create(queue_name, true)
$$;
create or replace function pgmq.create(queue_name text) returns void language sql as $$
  select pgmq._create(queue_name, true)
$$;
create or replace function pgmq.create_unlogged(queue_name text) returns void language sql as $$
  select pgmq._create(queue_name, false)
$$;
create or replace function pgmq.create_partitioned(
  queue_name text, partition_interval text default '10000', retention_interval text default '100000'
) returns void language plpgsql as $$
begin
  raise notice 'pgmq is a stand-in of the local stack: queue % is made without partitions, and nothing is dropped from it', queue_name;
  perform pgmq._create(queue_name, true);
end
$$;

create or replace function pgmq.drop_queue(queue_name text) returns boolean language plpgsql as $$
begin
  delete from pgmq.meta m where lower(m.queue_name) = lower(drop_queue.queue_name);
  if not found then
    raise notice 'pgmq queue % does not exist', queue_name;
    return false;
  end if;
  execute format('drop table if exists pgmq.%I, pgmq.%I',
    pgmq.format_table_name(queue_name, 'q'), pgmq.format_table_name(queue_name, 'a'));
  return true;
end
$$;
create or replace function pgmq.drop_queue(queue_name text, partitioned boolean) returns boolean language sql as $$
  select pgmq.drop_queue(queue_name)
$$;
create or replace function pgmq.detach_archive(queue_name text) returns void language sql as $$ $$;
create or replace function pgmq.list_queues() returns setof pgmq.queue_record language sql as $$
  select queue_name, is_partitioned, is_unlogged, created_at from pgmq.meta
$$;
create or replace function pgmq.purge_queue(queue_name text) returns bigint language plpgsql as $$
declare
  gone bigint;
begin
  execute format('delete from pgmq.%I', pgmq.format_table_name(queue_name, 'q'));
  get diagnostics gone = row_count;
  return gone;
end
$$;

-- Messages ----------------------------------------------------------------------------------------

create or replace function pgmq.send_batch(queue_name text, msgs jsonb[], headers jsonb[], delay timestamptz)
  returns setof bigint language plpgsql as $$
begin
  return query execute format(
    'insert into pgmq.%I (vt, message, headers)'
    ' select $2, m, h from unnest($1, $3) with ordinality as t (m, h, nr) where nr <= $4 order by nr returning msg_id',
    pgmq.format_table_name(queue_name, 'q'))
  using msgs, delay, coalesce(headers, '{}'), cardinality(msgs);
end
$$;
create or replace function pgmq.send_batch(queue_name text, msgs jsonb[], headers jsonb[], delay integer)
  returns setof bigint language sql as $$
  select pgmq.send_batch(queue_name, msgs, headers, clock_timestamp() + make_interval(secs => delay))
$$;
create or replace function pgmq.send_batch(queue_name text, msgs jsonb[], headers jsonb[]) returns setof bigint language sql as $$
  select pgmq.send_batch(queue_name, msgs, headers, clock_timestamp())
$$;
create or replace function pgmq.send_batch(queue_name text, msgs jsonb[]) returns setof bigint language sql as $$
  select pgmq.send_batch(queue_name, msgs, null, clock_timestamp())
$$;
create or replace function pgmq.send_batch(queue_name text, msgs jsonb[], delay integer) returns setof bigint language sql as $$
  select pgmq.send_batch(queue_name, msgs, null, delay)
$$;
create or replace function pgmq.send_batch(queue_name text, msgs jsonb[], delay timestamptz) returns setof bigint language sql as $$
  select pgmq.send_batch(queue_name, msgs, null, delay)
$$;
create or replace function pgmq.send(queue_name text, msg jsonb) returns setof bigint language sql as $$
  select pgmq.send_batch(queue_name, array[msg])
$$;
create or replace function pgmq.send(queue_name text, msg jsonb, headers jsonb) returns setof bigint language sql as $$
  select pgmq.send_batch(queue_name, array[msg], array[headers])
$$;
create or replace function pgmq.send(queue_name text, msg jsonb, delay integer) returns setof bigint language sql as $$
  select pgmq.send_batch(queue_name, array[msg], delay)
$$;
create or replace function pgmq.send(queue_name text, msg jsonb, delay timestamptz) returns setof bigint language sql as $$
  select pgmq.send_batch(queue_name, array[msg], delay)
$$;
create or replace function pgmq.send(queue_name text, msg jsonb, headers jsonb, delay integer) returns setof bigint language sql as $$
  select pgmq.send_batch(queue_name, array[msg], array[headers], delay)
$$;
create or replace function pgmq.send(queue_name text, msg jsonb, headers jsonb, delay timestamptz) returns setof bigint language sql as $$
  select pgmq.send_batch(queue_name, array[msg], array[headers], delay)
$$;

-- The next messages that are visible and nobody else is reading, hidden for vt seconds.
create or replace function pgmq.read(queue_name text, vt integer, qty integer, conditional jsonb default '{}')
  returns setof pgmq.message_record language plpgsql as $$
declare
  queue text := pgmq.format_table_name(queue_name, 'q');
begin
  return query execute format(
    'with next as (select msg_id from pgmq.%1$I where vt <= clock_timestamp() and ($3 = ''{}'' or message @> $3)'
    '  order by msg_id limit $1 for update skip locked)'
    ' update pgmq.%1$I m set vt = clock_timestamp() + make_interval(secs => $2), read_ct = read_ct + 1'
    ' from next where m.msg_id = next.msg_id'
    ' returning m.msg_id, m.read_ct, m.enqueued_at, m.vt, m.message, m.headers', queue)
  using qty, vt, coalesce(conditional, '{}');
end
$$;
create or replace function pgmq.read_with_poll(
  queue_name text, vt integer, qty integer, max_poll_seconds integer default 5, poll_interval_ms integer default 100,
  conditional jsonb default '{}'
) returns setof pgmq.message_record language plpgsql as $$
declare
  until timestamptz := clock_timestamp() + make_interval(secs => max_poll_seconds);
begin
  loop
    return query select * from pgmq.read(queue_name, vt, qty, conditional);
    exit when found or clock_timestamp() >= until;
    perform pg_sleep(poll_interval_ms / 1000.0);
  end loop;
end
$$;
create or replace function pgmq.pop(queue_name text) returns setof pgmq.message_record language plpgsql as $$
begin
  return query execute format(
    'delete from pgmq.%1$I where msg_id = (select msg_id from pgmq.%1$I where vt <= clock_timestamp()'
    '  order by msg_id limit 1 for update skip locked)'
    ' returning msg_id, read_ct, enqueued_at, vt, message, headers', pgmq.format_table_name(queue_name, 'q'));
end
$$;
create or replace function pgmq.set_vt(queue_name text, msg_id bigint, vt integer)
  returns setof pgmq.message_record language plpgsql as $$
begin
  return query execute format(
    'update pgmq.%I set vt = clock_timestamp() + make_interval(secs => $2) where msg_id = $1'
    ' returning msg_id, read_ct, enqueued_at, vt, message, headers', pgmq.format_table_name(queue_name, 'q'))
  using msg_id, vt;
end
$$;

create or replace function pgmq.delete(queue_name text, msg_ids bigint[]) returns setof bigint language plpgsql as $$
begin
  return query execute format(
    'delete from pgmq.%I where msg_id = any ($1) returning msg_id', pgmq.format_table_name(queue_name, 'q')) using msg_ids;
end
$$;
create or replace function pgmq.delete(queue_name text, msg_id bigint) returns boolean language sql as $$
  select exists (select from pgmq.delete(queue_name, array[msg_id]))
$$;
create or replace function pgmq.archive(queue_name text, msg_ids bigint[]) returns setof bigint language plpgsql as $$
begin
  return query execute format(
    'with gone as (delete from pgmq.%I where msg_id = any ($1) returning msg_id, vt, read_ct, enqueued_at, message, headers)'
    ' insert into pgmq.%I (msg_id, vt, read_ct, enqueued_at, message, headers)'
    ' select msg_id, vt, read_ct, enqueued_at, message, headers from gone returning msg_id',
    pgmq.format_table_name(queue_name, 'q'), pgmq.format_table_name(queue_name, 'a')) using msg_ids;
end
$$;
create or replace function pgmq.archive(queue_name text, msg_id bigint) returns boolean language sql as $$
  select exists (select from pgmq.archive(queue_name, array[msg_id]))
$$;

-- Metrics -----------------------------------------------------------------------------------------

create or replace function pgmq.metrics(queue_name text) returns pgmq.metrics_result language plpgsql as $$
declare
  result pgmq.metrics_result;
  queue text := pgmq.format_table_name(queue_name, 'q');
begin
  execute format(
    'select $1, count(*), extract(epoch from now() - max(enqueued_at))::int, extract(epoch from now() - min(enqueued_at))::int,'
    ' (select case when is_called then last_value else 0 end from pgmq.%I), now(),'
    ' count(*) filter (where vt <= clock_timestamp()) from pgmq.%I', queue || '_msg_id_seq', queue)
  into result using queue_name;
  return result;
end
$$;
create or replace function pgmq.metrics_all() returns setof pgmq.metrics_result language sql as $$
  select m.* from pgmq.meta q, pgmq.metrics(q.queue_name) m
$$;

grant usage on schema pgmq to pg_monitor;
grant all on schema pgmq to postgres with grant option;
grant all on pgmq.meta to postgres with grant option;

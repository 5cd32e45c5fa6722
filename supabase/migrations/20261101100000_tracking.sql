-- Tracking, part 1: what the rest stands on. A private schema with the registry of tracked tables, the
-- database's epoch, and the two trigger functions that keep a tracked row's stamps and refuse to move it.

create schema realtime_toolkit;
revoke all on schema realtime_toolkit from public;
grant usage on schema realtime_toolkit to authenticated, service_role;

create table realtime_toolkit.tracked (
  relation regclass primary key,
  kind text not null check (kind ~ '^[a-z][a-z0-9_]{0,62}$'),
  scope_column text not null,
  -- What untrack_table has to undo:
  added_columns text[] not null default '{}',
  made_index text,
  published boolean not null default false,
  identity_before text not null
);
comment on table realtime_toolkit.tracked is
  'Tables a subscriber can follow; written by track_table and untrack_table only.';
create index tracked_kind_idx on realtime_toolkit.tracked (kind);
revoke all on realtime_toolkit.tracked from public, anon, authenticated, service_role;
grant select on realtime_toolkit.tracked to authenticated, service_role;

-- A cursor is a transaction number, so it means nothing in another cluster, after a restore, or after a
-- failover that may have lost commits. The epoch names the one history in which it does.
create table realtime_toolkit.origin (
  id uuid primary key default gen_random_uuid(),
  only_row boolean not null default true unique check (only_row)
);
comment on table realtime_toolkit.origin is 'One row, made with the schema; a part of the epoch.';
revoke all on realtime_toolkit.origin from public, anon, authenticated, service_role;
insert into realtime_toolkit.origin default values;

-- Parts: the stored id; the table's oid and its row's xmin (both new after any restore of a dump); the
-- database's oid (new in a copy by template); the cluster's system identifier and timeline where they can
-- be read. SECURITY DEFINER, so that every role gets the same answer without a grant on the parts.
create function realtime_toolkit.epoch() returns text
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
declare
  cluster text := '';
begin
  if has_function_privilege('pg_catalog.pg_control_system()', 'execute')
    and has_function_privilege('pg_catalog.pg_control_checkpoint()', 'execute')
  then
    select concat_ws('/', s.system_identifier, c.timeline_id) into cluster
    from pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c;
  end if;
  return (
    select md5(concat_ws('/', o.id, o.tableoid::oid, o.xmin, d.oid, cluster))
    from realtime_toolkit.origin o, pg_catalog.pg_database d
    where d.datname = current_database()
  );
end
$$;
comment on function realtime_toolkit.epoch() is 'Names the history in which transaction numbers can be compared.';
revoke all on function realtime_toolkit.epoch() from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.epoch() to authenticated, service_role;

-- Changes when what carries the stream was torn, which nobody announces: the server was started anew, or a logical
-- slot was lost or is another connection's now. A consumer of somebody else's that comes back changes it, too, and
-- costs every subscriber one comparison. SECURITY DEFINER, as epoch() is.
create function realtime_toolkit.pulse() returns text
language sql stable security definer set search_path = pg_catalog, pg_temp
as $$
  select md5(concat_ws('/', pg_postmaster_start_time(), (
    select string_agg(concat_ws(':', s.slot_name, s.active_pid), ',' order by s.slot_name)
    from pg_catalog.pg_replication_slots s
    where s.database = current_database())))
$$;
comment on function realtime_toolkit.pulse() is 'Changes when the server was restarted or a replication slot was lost.';
revoke all on function realtime_toolkit.pulse() from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.pulse() to authenticated, service_role;

-- Whatever the client sends, a tracked row carries these. clock_timestamp() rather than now(), which would
-- give every update of one transaction the same time.
create function realtime_toolkit.stamp() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if tg_op = 'INSERT' then
    new.created_at := clock_timestamp();
    new.updated_at := new.created_at;
    new.version := 1;
  else
    new.created_at := old.created_at;
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
    new.version := old.version + 1;
  end if;
  new.changed_in := pg_current_xact_id();
  return new;
end
$$;
comment on function realtime_toolkit.stamp() is
  'BEFORE INSERT OR UPDATE: keeps created_at, updated_at, version and changed_in.';
revoke all on function realtime_toolkit.stamp() from public, anon, authenticated, service_role;

-- Fired by a WHEN clause that names the columns, so an ordinary update does not pay for it.
create function realtime_toolkit.refuse_move() returns trigger
language plpgsql set search_path = ''
as $$
begin
  raise exception 'the key and the scope column of a row in %.% cannot change', tg_table_schema, tg_table_name
    using errcode = 'integrity_constraint_violation',
      detail = 'Realtime would not tell the subscribers of the old scope that the row has left.',
      hint = 'Delete the row and insert it again.',
      schema = tg_table_schema, table = tg_table_name;
end
$$;
comment on function realtime_toolkit.refuse_move() is
  'BEFORE UPDATE of a key or scope column: refuses.';
revoke all on function realtime_toolkit.refuse_move() from public, anon, authenticated, service_role;

-- The type under a domain, or the type itself.
create function realtime_toolkit.base_type(type oid) returns oid
language plpgsql stable strict set search_path = ''
as $$
declare
  below oid := type;
begin
  while below <> 0 loop
    type := below;
    select t.typbasetype into strict below from pg_catalog.pg_type t where t.oid = type;
  end loop;
  return type;
end
$$;
revoke all on function realtime_toolkit.base_type(oid) from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.base_type(oid) to authenticated, service_role;

-- What Realtime does to values of a type on their way (measured on v2.129.8): 'always' may alter them (it loses the
-- length of char(n) and bit(n), and cuts to the first character; a composite's fields come by their own rules; a type
-- with a cast to json comes as its text), 'null' shows NaN and the infinities as null. Null: nothing.
create function realtime_toolkit.alteration(type oid, modifier integer) returns text
language plpgsql stable set search_path = ''
as $$
declare
  t pg_catalog.pg_type;
begin
  select * into strict t from pg_catalog.pg_type p where p.oid = alteration.type;
  if t.typtype = 'd' then
    return realtime_toolkit.alteration(t.typbasetype, case when modifier = -1 then t.typtypmod else modifier end);
  elsif t.typcategory = 'A' and t.typelem <> 0 then
    return realtime_toolkit.alteration(t.typelem, modifier);
  end if;
  return case
    when t.oid = 'bpchar'::regtype and modifier <> 5 then 'always'  -- of a length n it is n + 4
    when t.oid = 'bit'::regtype and modifier <> 1 then 'always'
    when t.typtype = 'c' or t.oid = 'record'::regtype then 'always'
    when t.oid >= 16384 and exists (
      select from pg_catalog.pg_cast c
      where c.castsource = t.oid and c.casttarget in ('json'::regtype, 'jsonb'::regtype)
    ) then 'always'
    when t.oid in ('numeric'::regtype, 'float4'::regtype, 'float8'::regtype) then 'null'
  end;
end
$$;
revoke all on function realtime_toolkit.alteration(oid, integer) from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.alteration(oid, integer) to authenticated, service_role;

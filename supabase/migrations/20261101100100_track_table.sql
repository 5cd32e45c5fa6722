-- Tracking, part 2: track_table puts a table under a kind, untrack_table undoes it. Both are for migrations:
-- neither can be called by the API roles.

-- A column's value has to be written alike by Postgres and by Realtime. Null: it is.
create function realtime_toolkit.unusable_type(type oid) returns text
language sql stable set search_path = ''
as $$
  select case
    when t.oid in ('bpchar'::regtype, 'bit'::regtype)
      then 'Realtime cuts values of this type to their first character'
    when t.oid = 'bytea'::regtype
      then 'Realtime writes its values without \x, so under row level security it finds no row to deliver'
    when t.oid in ('float4'::regtype, 'float8'::regtype, 'money'::regtype)
      then 'its values have no exact text'
    when t.oid in ('json'::regtype, 'jsonb'::regtype, 'xml'::regtype) or t.typtype = 'c' or t.typcategory = 'A'
      then 'its values have no single text'
  end
  from pg_catalog.pg_type t
  where t.oid = realtime_toolkit.base_type(unusable_type.type)
$$;
revoke all on function realtime_toolkit.unusable_type(oid) from public, anon, authenticated, service_role;

create function realtime_toolkit.key_columns(relation regclass) returns text[]
language sql stable set search_path = ''
as $$
  select array_agg(a.attname::text order by k.place)
  from pg_catalog.pg_index i
  cross join unnest(i.indkey::int2[]) with ordinality as k (attnum, place)
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
  where i.indrelid = key_columns.relation and i.indisprimary and k.place <= i.indnkeyatts
$$;
comment on function realtime_toolkit.key_columns(regclass) is 'The primary key in its own order; null without one.';
revoke all on function realtime_toolkit.key_columns(regclass) from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.key_columns(regclass) to authenticated, service_role;

-- A valid unique index that begins with the scope column and has the key's columns beside it, and no more:
-- it serves every query of a scope, and as replica identity it lets Realtime match a DELETE to the scope.
create function realtime_toolkit.scope_index(relation regclass, scope_column text) returns oid
language sql stable set search_path = ''
as $$
  select i.indexrelid
  from pg_catalog.pg_index i
  cross join lateral (
    select array_agg(a.attname::text order by k.place) as names
    from unnest(i.indkey::int2[]) with ordinality as k (attnum, place)
    join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
    where k.place <= i.indnkeyatts
  ) has
  cross join lateral (
    select array_agg(distinct name) as names
    from unnest(realtime_toolkit.key_columns(scope_index.relation) || scope_index.scope_column) as w (name)
  ) wanted
  where i.indrelid = scope_index.relation
    and i.indisunique and i.indisvalid and i.indisready and i.indimmediate
    and i.indpred is null and i.indexprs is null
    and i.indnkeyatts = cardinality(wanted.names)
    and has.names[1] = scope_index.scope_column
    and has.names @> wanted.names
  order by i.indisprimary desc, i.indexrelid
  limit 1
$$;
revoke all on function realtime_toolkit.scope_index(regclass, text) from public, anon, authenticated, service_role;

-- Everything that makes a table unfit, each with the way to mend it. Raises, or returns quietly.
create function realtime_toolkit.check_trackable(target regclass, kind text, scope_column text) returns void
language plpgsql stable set search_path = ''
as $$
declare
  rel record;
  bad record;
  keys text[] := realtime_toolkit.key_columns(target);
begin
  if target is null then
    raise exception 'no table given' using errcode = 'null_value_not_allowed';
  end if;
  if kind is null or kind !~ '^[a-z][a-z0-9_]{0,62}$' then
    raise exception 'not a kind of scope: %', coalesce(quote_literal(kind), 'null')
      using errcode = 'invalid_parameter_value',
        hint = 'Write a lower-case letter, then letters, digits or underscores, at most 63 in all.';
  end if;

  select c.relkind, c.relpersistence, c.relispartition, c.relrowsecurity into rel
  from pg_catalog.pg_class c where c.oid = target;
  if rel.relkind <> 'r' or rel.relispartition then
    raise exception '% is not an ordinary table', target
      using errcode = 'wrong_object_type', hint = case
        when rel.relkind = 'p' or rel.relispartition
          then 'Realtime delivers the changes of partitions, never of the table above them: '
            'track a table without partitions.'
        else 'Track the table that the data is in.' end;
  end if;
  if rel.relpersistence <> 'p' then
    raise exception '% is temporary or unlogged, so its changes are never published', target
      using errcode = 'wrong_object_type', hint = format('alter table %s set logged;', target);
  end if;
  if not rel.relrowsecurity then
    raise exception 'row level security is off on %: every subscriber would receive every row', target
      using errcode = 'object_not_in_prerequisite_state',
        hint = format('alter table %s enable row level security;  and write its policies.', target);
  end if;
  if keys is null then
    raise exception '% has no primary key, so its changes cannot be told apart', target
      using errcode = 'object_not_in_prerequisite_state',
        hint = format('alter table %s add primary key (…);', target);
  end if;

  select a.attnotnull, a.attgenerated into rel
  from pg_catalog.pg_attribute a
  where a.attrelid = target and a.attname = check_trackable.scope_column and a.attnum > 0 and not a.attisdropped;
  if not found then
    raise exception '% has no column %', target, coalesce(quote_literal(scope_column), 'null')
      using errcode = 'undefined_column',
        hint = 'scope_column names the column whose value says which scope a row belongs to.';
  end if;
  if not rel.attnotnull then
    raise exception 'the scope column % of % may be null, and such a row would belong to no scope',
      scope_column, target using errcode = 'object_not_in_prerequisite_state',
        hint = format('alter table %s alter column %I set not null;', target, scope_column);
  end if;

  for bad in
    select a.attname, format_type(a.atttypid, a.atttypmod) as type, a.attgenerated,
      realtime_toolkit.unusable_type(a.atttypid) as reason
    from pg_catalog.pg_attribute a
    where a.attrelid = target and a.attname = any (keys || check_trackable.scope_column)
    order by a.attnum
  loop
    if bad.reason is not null then
      raise exception 'column % of % is of type %: %', bad.attname, target, bad.type, bad.reason
        using errcode = 'feature_not_supported',
          hint = 'Use a type with one exact text, such as uuid, bigint or text, for keys and scope columns.';
    end if;
    if bad.attgenerated <> '' then
      raise exception 'column % of % is generated, so Realtime does not publish it', bad.attname, target
        using errcode = 'feature_not_supported', hint = 'Use an ordinary column for keys and scope columns.';
    end if;
  end loop;

  for bad in
    select a.attname, format_type(a.atttypid, -1) as type, w.type as wanted, a.attgenerated, a.attidentity
    from pg_catalog.pg_attribute a
    join (values ('created_at', 'timestamptz'::regtype), ('updated_at', 'timestamptz'),
      ('version', 'bigint'), ('changed_in', 'xid8')) as w (name, type) on w.name = a.attname
    where a.attrelid = target and a.attnum > 0 and not a.attisdropped
      and (a.atttypid <> w.type or a.attgenerated <> '' or a.attidentity <> '')
    order by a.attnum
  loop
    raise exception 'column % of % is there already, but not as a plain column of type %',
      bad.attname, target, bad.wanted
      using errcode = 'datatype_mismatch', detail = format('It is of type %s.', bad.type),
        hint = format('Rename it, or change its type: alter table %s alter column %I type %s;',
          target, bad.attname, bad.wanted);
  end loop;
end
$$;
revoke all on function realtime_toolkit.check_trackable(regclass, text, text)
  from public, anon, authenticated, service_role;

-- Adds what is missing of the four columns and returns the names of those. Constant defaults first, so the
-- table is not rewritten. changed_in of the rows that are there already is this transaction, so that a
-- subscriber of the kind who has a cursor gets them with the next sync.
create function realtime_toolkit.add_stamp_columns(target regclass) returns text[]
language plpgsql set search_path = ''
as $$
declare
  col record;
  added text[] := '{}';
  has_null boolean;
begin
  for col in
    select w.name, w.type, w.first, w.later, a.attname is null as missing, a.attnotnull
    from (values
      (1, 'created_at', 'timestamptz', 'now()', 'clock_timestamp()'),
      (2, 'updated_at', 'timestamptz', 'now()', 'clock_timestamp()'),
      (3, 'version', 'bigint', '1', '1'),
      (4, 'changed_in', 'xid8', quote_literal(pg_current_xact_id()), 'pg_current_xact_id()')
    ) as w (place, name, type, first, later)
    left join pg_catalog.pg_attribute a on a.attrelid = target and a.attname = w.name
    order by w.place
  loop
    if col.missing then
      execute format('alter table %s add column %I pg_catalog.%s not null default %s', target, col.name,
        replace(col.type, 'bigint', 'int8'), col.first);
      added := added || col.name;
    elsif not col.attnotnull then
      execute format('select exists (select from %s where %I is null)', target, col.name) into has_null;
      if has_null then
        raise exception 'column % of % holds nulls', col.name, target
          using errcode = 'not_null_violation',
            hint = format('update %s set %I = %s where %I is null;', target, col.name, col.first, col.name);
      end if;
      execute format('alter table %s alter column %I set not null', target, col.name);
    end if;
    execute format('alter table %s alter column %I set default %s', target, col.name, col.later);
  end loop;
  return added;
end
$$;
revoke all on function realtime_toolkit.add_stamp_columns(regclass) from public, anon, authenticated, service_role;

-- Named to run after a table's own BEFORE triggers, which could otherwise still change what was stamped.
create function realtime_toolkit.make_triggers(target regclass, scope_column text) returns void
language plpgsql set search_path = ''
as $$
declare
  moved text;
begin
  select string_agg(format('old.%1$I is distinct from new.%1$I', name), ' or ') into moved
  from (select distinct name from unnest(realtime_toolkit.key_columns(target) || scope_column) as f (name)) fixed;
  execute format('create or replace trigger zz_realtime_toolkit_fixed before update on %s '
    'for each row when (%s) execute function realtime_toolkit.refuse_move()', target, moved);
  execute format('create or replace trigger zz_realtime_toolkit_stamp before insert or update on %s '
    'for each row execute function realtime_toolkit.stamp()', target);
end
$$;
revoke all on function realtime_toolkit.make_triggers(regclass, text) from public, anon, authenticated, service_role;

-- Makes the scope's index the replica identity and returns its name where it had to be made. A primary key
-- that begins with the scope column already is one, as the default identity.
create function realtime_toolkit.set_identity(target regclass, scope_column text) returns text
language plpgsql set search_path = ''
as $$
declare
  made text;
  chosen record;
  others text;
begin
  if realtime_toolkit.scope_index(target, scope_column) is null then
    select string_agg(quote_ident(k.name), ', ' order by k.place) into others
    from unnest(realtime_toolkit.key_columns(target)) with ordinality as k (name, place)
    where k.name <> scope_column;
    execute format('create unique index on %s (%s)', target, concat_ws(', ', quote_ident(scope_column), others));
    select c.relname into made from pg_catalog.pg_class c
    where c.oid = realtime_toolkit.scope_index(target, scope_column);
  end if;

  select c.relname, i.indisprimary, i.indisreplident, t.relreplident into strict chosen
  from pg_catalog.pg_index i
  join pg_catalog.pg_class c on c.oid = i.indexrelid
  join pg_catalog.pg_class t on t.oid = i.indrelid
  where i.indexrelid = realtime_toolkit.scope_index(target, scope_column);
  if chosen.indisprimary then
    if chosen.relreplident <> 'd' then
      execute format('alter table %s replica identity default', target);
    end if;
  elsif chosen.relreplident <> 'i' or not chosen.indisreplident then
    execute format('alter table %s replica identity using index %I', target, chosen.relname);
  end if;
  return made;
end
$$;
revoke all on function realtime_toolkit.set_identity(regclass, text) from public, anon, authenticated, service_role;

-- Adds the table to the publication, which is made where there is none; true if it was not in it before.
create function realtime_toolkit.publish(target regclass) returns boolean
language plpgsql set search_path = ''
as $$
begin
  if not exists (select from pg_catalog.pg_publication p where p.pubname = 'supabase_realtime') then
    create publication supabase_realtime;
  end if;
  if exists (
    select from pg_catalog.pg_publication p
    where p.pubname = 'supabase_realtime' and (
      p.puballtables
      or exists (select from pg_catalog.pg_publication_rel r where r.prpubid = p.oid and r.prrelid = target)
      or exists (
        select from pg_catalog.pg_publication_namespace n
        join pg_catalog.pg_class c on c.relnamespace = n.pnnspid
        where n.pnpubid = p.oid and c.oid = target
      )
    )
  ) then
    return false;
  end if;
  execute format('alter publication supabase_realtime add table %s', target);
  return true;
end
$$;
revoke all on function realtime_toolkit.publish(regclass) from public, anon, authenticated, service_role;

create function public.track_table(target regclass, kind text, scope_column text) returns void
language plpgsql set search_path = ''
as $$
declare
  known realtime_toolkit.tracked;
  before text;
  added text[];
  made text;
  published boolean;
begin
  perform realtime_toolkit.check_trackable(target, kind, scope_column);
  perform pg_advisory_xact_lock(hashtextextended('realtime_toolkit.track_table', 0));

  select * into known from realtime_toolkit.tracked t where t.relation = target;
  if found and (known.kind, known.scope_column) <> (track_table.kind, track_table.scope_column) then
    raise exception '% is already tracked under kind % by column %', target, known.kind, known.scope_column
      using errcode = 'object_not_in_prerequisite_state',
        hint = format('select untrack_table(%L);  first.', target);
  end if;

  select case c.relreplident when 'i' then 'i:' || coalesce(x.relname, '') else c.relreplident::text end into before
  from pg_catalog.pg_class c
  left join pg_catalog.pg_index i on i.indrelid = c.oid and i.indisreplident
  left join pg_catalog.pg_class x on x.oid = i.indexrelid
  where c.oid = target;

  added := realtime_toolkit.add_stamp_columns(target);
  perform realtime_toolkit.make_triggers(target, scope_column);
  made := realtime_toolkit.set_identity(target, scope_column);
  published := realtime_toolkit.publish(target);

  insert into realtime_toolkit.tracked as t
    (relation, kind, scope_column, added_columns, made_index, published, identity_before)
  values (target, track_table.kind, track_table.scope_column, added, made, published, before)
  on conflict (relation) do update set
    added_columns = t.added_columns || excluded.added_columns,
    made_index = coalesce(excluded.made_index, t.made_index),
    published = t.published or excluded.published;
end
$$;
comment on function public.track_table(regclass, text, text) is
  'Puts a table under a kind of scope: stamps, replica identity, publication. Idempotent; mends what is missing.';
revoke all on function public.track_table(regclass, text, text) from public, anon, authenticated, service_role;

-- Takes back what track_table did, and only that: columns, index and publication membership that were there
-- before stay. keep_columns leaves the four columns as ordinary ones.
create function public.untrack_table(target regclass, keep_columns boolean default false) returns void
language plpgsql set search_path = ''
as $$
declare
  known realtime_toolkit.tracked;
  name text;
begin
  perform pg_advisory_xact_lock(hashtextextended('realtime_toolkit.track_table', 0));
  delete from realtime_toolkit.tracked t where t.relation = target returning * into known;
  if not found then
    return;
  end if;

  execute format('drop trigger if exists zz_realtime_toolkit_fixed on %s', target);
  execute format('drop trigger if exists zz_realtime_toolkit_stamp on %s', target);
  if known.published and exists (
    select from pg_catalog.pg_publication_rel r join pg_catalog.pg_publication p on p.oid = r.prpubid
    where p.pubname = 'supabase_realtime' and r.prrelid = target
  ) then
    execute format('alter publication supabase_realtime drop table %s', target);
  end if;

  execute format('alter table %s replica identity %s', target, case known.identity_before
    when 'f' then 'full' when 'n' then 'nothing' when 'd' then 'default' else coalesce(
      (select format('using index %I', c.relname)
       from pg_catalog.pg_index i join pg_catalog.pg_class c on c.oid = i.indexrelid
       where i.indrelid = target and 'i:' || c.relname = known.identity_before),
      'default') end);

  -- A foreign key may have come to depend on the index meanwhile: then it stays.
  select format('%I.%I', n.nspname, c.relname) into name
  from pg_catalog.pg_index i
  join pg_catalog.pg_class c on c.oid = i.indexrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where i.indrelid = target and c.relname = known.made_index
    and not exists (select from pg_catalog.pg_constraint k where k.conindid = c.oid);
  if found then
    execute format('drop index %s', name);
  end if;

  foreach name in array known.added_columns loop
    exit when keep_columns;
    execute format('alter table %s drop column if exists %I', target, name);
  end loop;
end
$$;
comment on function public.untrack_table(regclass, boolean) is
  'Undoes track_table. Quiet about a table that is not tracked.';
revoke all on function public.untrack_table(regclass, boolean) from public, anon, authenticated, service_role;

-- Tracking, part 3: what a subscriber asks. All are SECURITY INVOKER, so row level security shapes every
-- answer, and STABLE, so that all statements of one call see one snapshot. Timezone and formats are pinned
-- because keys and rows must read the same in every session.

-- A tracked table with the pieces of SQL that the queries on it are made of. In these the table's alias is
-- t, and $1 is the scope's value as text.
create type realtime_toolkit.followed as (
  name text,            -- schema.table, unquoted: part of every hash
  schema_name text,
  table_name text,
  source text,          -- the same, quoted
  scope_column text,
  key_columns text[],   -- in primary-key order
  columns text[],       -- those the caller may select
  scope_type text,
  key_types text[],
  in_scope_sql text,    -- boolean
  key_sql text,         -- the canonical key: jsonb_build_array(key columns)::text
  row_sql text          -- the columns the caller may select, as jsonb
);

-- The tables of a kind of which the caller may read at least key, scope column, version and changed_in. One
-- that has lost its key or scope column since it was tracked is an error: left out, it would be a silent gap.
create function realtime_toolkit.readable_tables(kind text) returns setof realtime_toolkit.followed
language plpgsql stable set search_path = ''
as $$
declare
  each realtime_toolkit.followed;
begin
  for each in
    with cols as (
      select k.relation, k.scope_column, a.attname::text as name, a.attnum,
        realtime_toolkit.base_type(a.atttypid)::regtype as type,
        has_column_privilege(k.relation, a.attnum, 'select') as readable,
        p.place
      from realtime_toolkit.tracked k
      join pg_catalog.pg_attribute a on a.attrelid = k.relation and a.attnum > 0 and not a.attisdropped
      left join lateral (
        select key.place
        from pg_catalog.pg_index i, unnest(i.indkey::int2[]) with ordinality as key (attnum, place)
        where i.indrelid = k.relation and i.indisprimary
          and key.attnum = a.attnum and key.place <= i.indnkeyatts
      ) p on true
      where k.kind = readable_tables.kind
    ),
    quoted as (
      select c.*, q.quote,
        lag(q.quote) over w as closing,
        c.place is not null and lead(c.place) over w is null as is_last
      from cols c
      cross join lateral (select case when c.type = 'uuid'::regtype then '"' else '' end as quote) q
      window w as (partition by c.relation order by c.place)
    ),
    tables as (
      select c.relation, c.scope_column,
        array_agg(c.name order by c.place) filter (where c.place is not null) as keys,
        array_agg(format_type(c.type, null) order by c.place) filter (where c.place is not null) as key_types,
        max(format_type(c.type, null)) filter (where c.name = c.scope_column) as scope_type,
        array_agg(c.name order by c.attnum) filter (where c.readable) as columns,
        -- Integers and UUIDs read the same in JSON as in plain text, which is several times as fast.
        case when bool_and(c.type in ('int2'::regtype, 'int4', 'int8', 'uuid')) filter (where c.place is not null)
          then string_agg(
            format('%L || t.%I', case when c.place = 1 then '[' else c.closing || ', ' end || c.quote, c.name),
            ' || ' order by c.place) filter (where c.place is not null)
            || format(' || %L', max(c.quote) filter (where c.is_last) || ']')
          else 'jsonb_build_array(' || string_agg(
            format(case when c.type = 'bytea'::regtype then 'encode(t.%I, ''hex'')' else 't.%I' end, c.name),
            ', ' order by c.place) filter (where c.place is not null) || ')::text'
        end as key_sql,
        -- bytea as Realtime shows it: hexadecimal without a prefix.
        case when bool_and(c.readable and c.type <> 'bytea'::regtype) then 'to_jsonb(t)'
          else '(select to_jsonb(r) from (select ' || string_agg(
            format(case when c.type = 'bytea'::regtype then 'encode(t.%1$I, ''hex'') as %1$I' else 't.%1$I' end, c.name),
            ', ' order by c.attnum) filter (where c.readable) || ') r)'
        end as row_sql,
        bool_and(c.readable) filter (
          where c.place is not null or c.name in (c.scope_column, 'version', 'changed_in')) as followable
      from quoted c
      group by c.relation, c.scope_column
    )
    select n.nspname || '.' || r.relname, n.nspname::text, r.relname::text, format('%I.%I', n.nspname, r.relname),
      t.scope_column, t.keys, t.columns, t.scope_type, t.key_types,
      format('t.%I = cast($1 as %s)', t.scope_column, t.scope_type), t.key_sql, t.row_sql
    from tables t
    join pg_catalog.pg_class r on r.oid = t.relation
    join pg_catalog.pg_namespace n on n.oid = r.relnamespace
    where t.followable and has_schema_privilege(n.oid, 'usage')
    order by (n.nspname || '.' || r.relname) collate "C"
  loop
    if each.key_columns is null or each.scope_type is null then
      raise exception 'tracked table % has lost its %', each.name,
        case when each.key_columns is null then 'primary key' else 'scope column ' || each.scope_column end
        using errcode = 'object_not_in_prerequisite_state', hint = 'Mend it, or untrack_table it and track it anew.';
    end if;
    return next each;
  end loop;
end
$$;
revoke all on function realtime_toolkit.readable_tables(text) from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.readable_tables(text) to authenticated, service_role;

-- The same for a query: refuses a kind that nobody tracks or that the caller may not read, and a value that is
-- not of the scope column's type (22P02).
create function realtime_toolkit.scope_tables(kind text, value text) returns realtime_toolkit.followed[]
language plpgsql stable set search_path = ''
as $$
declare
  tables realtime_toolkit.followed[];
  type text;
begin
  if value is null then
    raise exception 'no scope value given' using errcode = 'null_value_not_allowed';
  end if;
  tables := array(select f from realtime_toolkit.readable_tables(kind) f);
  if cardinality(tables) = 0 then
    if exists (select from realtime_toolkit.tracked k where k.kind = scope_tables.kind) then
      raise exception 'role % may read no table of kind %', current_user, kind using errcode = 'insufficient_privilege';
    end if;
    raise exception 'no table is tracked under kind %', coalesce(quote_literal(kind), 'null')
      using errcode = 'RT004', hint = 'Kinds are made by track_table, in a migration.';
  end if;

  for type in select distinct (unnest(tables)).scope_type loop
    begin
      execute format('select cast($1 as %s)', type) using value;
    exception when data_exception or check_violation or not_null_violation then
      raise exception 'not a value of a scope of kind %: %', kind, quote_literal(left(value, 100))
        using errcode = 'invalid_text_representation', detail = sqlerrm;
    end;
  end loop;
  return tables;
end
$$;
revoke all on function realtime_toolkit.scope_tables(text, text) from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.scope_tables(text, text) to authenticated, service_role;

-- What realtime_toolkit.model.key_hash and row_hash are made of: MD5 over table, key (and version, changed_in).
create function realtime_toolkit.key_hash_sql(t realtime_toolkit.followed) returns text
language sql immutable set search_path = ''
as $$ select format('md5(%L || %s)', t.name || chr(31), t.key_sql) $$;
create function realtime_toolkit.row_hash_sql(t realtime_toolkit.followed) returns text
language sql immutable set search_path = ''
as $$
  select format('(''x'' || left(md5(%L || %s || (%3$L || t.version || (%3$L || t.changed_in))), 16))::bit(64)::bigint',
    t.name || chr(31), t.key_sql, chr(31))
$$;
revoke all on function realtime_toolkit.key_hash_sql(realtime_toolkit.followed)
  from public, anon, authenticated, service_role;
revoke all on function realtime_toolkit.row_hash_sql(realtime_toolkit.followed)
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.key_hash_sql(realtime_toolkit.followed) to authenticated, service_role;
grant execute on function realtime_toolkit.row_hash_sql(realtime_toolkit.followed) to authenticated, service_role;

-- The sum was of signed numbers; modulo 2^64 it is the same.
create function realtime_toolkit.digest(count bigint, total numeric) returns jsonb
language sql immutable set search_path = ''
as $$
  select jsonb_build_object('count', count, 'total',
    mod(mod(coalesce(total, 0), 18446744073709551616) + 18446744073709551616, 18446744073709551616)::text)
$$;
revoke all on function realtime_toolkit.digest(bigint, numeric) from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.digest(bigint, numeric) to authenticated, service_role;

-- One pass over a scope: the digest of all that is visible, and the tables in which the filter (of $2 since
-- and $4 future, as in page_sql) finds something.
create function realtime_toolkit.scope_digest(
  tables realtime_toolkit.followed[], value text, filter text, since text, future xid8,
  out digest jsonb, out changed text[]
)
language plpgsql stable set search_path = ''
as $$
declare
  parts text;
begin
  select string_agg(format('select %L, count(*), sum(%s), count(*) filter (where true%s) from %s t where %s',
    t.name, realtime_toolkit.row_hash_sql(t), filter, t.source, t.in_scope_sql), ' union all ') into parts
  from unnest(tables) t;
  execute format('select realtime_toolkit.digest(sum(p.count)::bigint, sum(p.total)), '
    'array_agg(p.name) filter (where p.matching > 0) from (%s) as p (name, count, total, matching)', parts)
  into digest, changed using value, since, null::text, future;
end
$$;
revoke all on function realtime_toolkit.scope_digest(realtime_toolkit.followed[], text, text, text, xid8)
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.scope_digest(realtime_toolkit.followed[], text, text, text, xid8)
  to authenticated, service_role;

create function public.tracked_tables(kind text) returns jsonb
language sql stable set search_path = '' set timezone = 'UTC'
as $$
  select coalesce(jsonb_agg(jsonb_build_object('schema', t.schema_name, 'table', t.table_name,
    'scope_column', t.scope_column, 'key_columns', t.key_columns, 'columns', t.columns)
    order by t.name collate "C"), '[]')
  from realtime_toolkit.readable_tables(tracked_tables.kind) t
$$;
comment on function public.tracked_tables(text) is
  'The tables of a kind that the caller may follow: [{schema, table, scope_column, key_columns, columns}].';

-- The pages of a sync are cut by key, not by transaction, because one transaction may have written any
-- number of rows. A series of pages is one walk over the keys; what was committed while it went on is the
-- next, short series: the rows that the snapshot at its start had not seen. A continuation says where the
-- walk stands:
--   since       what the caller had asked for (null: everything)
--   seen        snapshot whose rows this series leaves out (null: they are left out by since)
--   started     snapshot at the start of this series
--   table, key  the last row that was sent
create function realtime_toolkit.continuation(after text) returns jsonb
language plpgsql stable set search_path = ''
as $$
begin
  perform (after::jsonb ->> 'seen')::pg_snapshot, (after::jsonb ->> 'since')::xid8;
  if after is not null and (after::jsonb ->> 'started')::pg_snapshot is null then
    raise data_exception;
  end if;
  return after::jsonb;
exception when data_exception then
  raise exception 'not a continuation of sync_scope: %', quote_literal(left(after, 100))
    using errcode = 'invalid_text_representation';
end
$$;
revoke all on function realtime_toolkit.continuation(text) from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.continuation(text) to authenticated, service_role;

create function realtime_toolkit.item_sql(t realtime_toolkit.followed, with_row boolean) returns text
language sql immutable set search_path = ''
as $$
  select format('jsonb_build_object(''table'', %L, ''key'', %s, ''version'', t.version, ''changed_in'', '
    't.changed_in::text, ''row'', %s)', t.name, t.key_sql, case when with_row then t.row_sql else 'null::jsonb' end)
$$;
revoke all on function realtime_toolkit.item_sql(realtime_toolkit.followed, boolean)
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.item_sql(realtime_toolkit.followed, boolean)
  to authenticated, service_role;

-- $1 value, $2 since, $3 seen, $4 the first transaction number that is not used yet, $5 key to go on after,
-- $6 most rows wanted: with it Postgres walks the scope's index, without it it would sort the whole rest.
create function realtime_toolkit.page_sql(t realtime_toolkit.followed, filter text, resumed boolean) returns text
language sql immutable set search_path = ''
as $$
  select format('select array[%s] as at, t.changed_in, %s as item from %s t where %s%s%s order by %s limit $6',
    string_agg(format('t.%I::text', k.name), ', ' order by k.place),
    realtime_toolkit.item_sql(t, true), t.source, t.in_scope_sql, filter,
    case when resumed then format(' and (%s) > (%s)',
      string_agg(format('t.%I', k.name), ', ' order by k.place),
      string_agg(format('cast($5[%s] as %s)', k.place, k.type), ', ' order by k.place)) end,
    string_agg(format('t.%I', k.name), ', ' order by k.place))
  from unnest(t.key_columns, t.key_types) with ordinality as k (name, type, place)
$$;
revoke all on function realtime_toolkit.page_sql(realtime_toolkit.followed, text, boolean)
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.page_sql(realtime_toolkit.followed, text, boolean)
  to authenticated, service_role;

create function public.sync_scope(
  kind text, value text, since text default null, epoch text default null, page_size integer default 5000,
  after text default null
) returns jsonb
language plpgsql stable
set search_path = '' set timezone = 'UTC' set datestyle = 'ISO' set intervalstyle = 'postgres'
set bytea_output = 'hex' set extra_float_digits = 1
as $$
declare
  page_bytes constant bigint := 8 * 1024 * 1024;
  page_rows constant integer := greatest(least(coalesce(page_size, 5000), 100000), 1);
  tables realtime_toolkit.followed[] := realtime_toolkit.scope_tables(kind, value);
  here text := realtime_toolkit.epoch();
  snapshot text := pg_current_snapshot();
  horizon xid8 := pg_snapshot_xmin(pg_current_snapshot());
  -- Rows restored from another cluster carry numbers from its future: only a full sync sends them.
  future xid8 := greatest(pg_snapshot_xmax(pg_current_snapshot()),
    (pg_current_xact_id_if_assigned()::text::numeric + 1)::text::xid8);
  place jsonb := realtime_toolkit.continuation(after);
  is_full boolean := false;
  more boolean := false;
  seen text;
  started text := snapshot;
  last_table text;
  last_key text[];
  filter text;
  digest jsonb;
  changed text[];
  t realtime_toolkit.followed;
  r record;
  items jsonb[] := '{}';
  changed_in xid8[] := '{}';
  n integer := 0;
  bytes bigint := 0;
begin
  if since !~ '^[0-9]{1,20}$' then
    raise exception 'not a cursor: %', quote_literal(left(since, 100)) using errcode = 'invalid_text_representation';
  end if;
  if place ->> 'epoch' = here then
    since := place ->> 'since';
    seen := place ->> 'seen';
    started := place ->> 'started';
    last_table := place ->> 'table';
    last_key := array(select jsonb_array_elements_text(place -> 'key'));
  else
    is_full := since is null or place is not null or coalesce(epoch <> here, false) or since::xid8 > horizon;
    since := case when not is_full then since end;
  end if;

  <<series>>
  loop
    filter := case
      when seen is not null then ' and t.changed_in >= pg_snapshot_xmin(cast($3 as pg_snapshot))'
        ' and t.changed_in < $4 and not pg_visible_in_snapshot(t.changed_in, cast($3 as pg_snapshot))'
      when since is not null then ' and t.changed_in >= cast($2 as xid8) and t.changed_in < $4'
      else '' end;
    if seen is null and since is not null and last_table is null then
      -- The usual case, a short delta: most tables need no second look.
      select d.digest, coalesce(d.changed, '{}') into digest, changed
      from realtime_toolkit.scope_digest(tables, value, filter, since, future) d;
    end if;
    foreach t in array tables loop
      continue when t.name collate "C" < last_table or t.name <> all (changed);
      for r in execute realtime_toolkit.page_sql(t, filter, coalesce(t.name = last_table, false))
        using value, since, seen, future, last_key, page_rows - n + 1
      loop
        more := n >= page_rows or bytes > page_bytes;
        exit series when more;
        n := n + 1;
        bytes := bytes + pg_column_size(r.item);
        items[n] := r.item;
        changed_in[n] := r.changed_in;
        last_table := t.name;
        last_key := r.at;
      end loop;
    end loop;
    exit when started = snapshot;
    seen := started;
    started := snapshot;
    last_table := null;
  end loop;

  if digest is null and not more then
    select d.digest into digest from realtime_toolkit.scope_digest(tables, value, '', since, future) d;
  end if;
  return jsonb_build_object(
    'epoch', here,
    'cursor', case when more then coalesce(since, '0') else horizon::text end,
    'full', is_full,
    'more', more,
    'after', case when more then jsonb_build_object('epoch', here, 'since', since, 'seen', seen,
      'started', started, 'table', last_table, 'key', last_key)::text end,
    'digest', case when not more then digest end,
    'rows', (
      select coalesce(jsonb_agg(i.item order by i.changed_in, i.place), '[]')
      from unnest(items, changed_in) with ordinality as i (item, changed_in, place)));
end
$$;
comment on function public.sync_scope(text, text, text, text, integer, text) is
  'Visible rows of a scope changed since a cursor, from one snapshot, with the next cursor and the digest of all.';

create function realtime_toolkit.check_prefixes(prefixes text[], longest integer) returns void
language plpgsql immutable set search_path = ''
as $$
begin
  if prefixes is null or exists (
    select from unnest(prefixes) p where p is null or p !~ '^[0-9a-f]*$' or length(p) > longest
  ) then
    raise exception 'prefixes are lower-case hexadecimal, at most % digits', longest
      using errcode = 'invalid_parameter_value';
  end if;
end
$$;
revoke all on function realtime_toolkit.check_prefixes(text[], integer) from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.check_prefixes(text[], integer) to authenticated, service_role;

-- Whether a row's key hash begins with a prefix of this length in $2: an equality, so that Postgres looks the
-- prefix up in a hash table, however many there are.
create function realtime_toolkit.begins_sql(t realtime_toolkit.followed, length integer) returns text
language sql immutable set search_path = ''
as $$
  select case length when 0 then 'true'
    else format('left(%s, %s) = any ($2)', realtime_toolkit.key_hash_sql(t), length) end
$$;
revoke all on function realtime_toolkit.begins_sql(realtime_toolkit.followed, integer)
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.begins_sql(realtime_toolkit.followed, integer)
  to authenticated, service_role;

create function public.digest_scope(kind text, value text, prefixes text[] default array['']) returns jsonb
language plpgsql stable
set search_path = '' set timezone = 'UTC' set datestyle = 'ISO' set intervalstyle = 'postgres'
set bytea_output = 'hex' set extra_float_digits = 1
as $$
declare
  tables realtime_toolkit.followed[] := realtime_toolkit.scope_tables(kind, value);
  parts text;
  buckets jsonb;
begin
  perform realtime_toolkit.check_prefixes(prefixes, 31);
  select string_agg(format('select left(%s, %s), %s from %s t where %s and %s', realtime_toolkit.key_hash_sql(t),
    l.length + 1, realtime_toolkit.row_hash_sql(t), t.source, t.in_scope_sql,
    realtime_toolkit.begins_sql(t, l.length)), ' union all ') into parts
  from unnest(tables) t, (select distinct length(p) as length from unnest(prefixes) p) l;
  execute format('select coalesce(jsonb_agg(jsonb_build_object(''prefix'', b.prefix) '
    '|| realtime_toolkit.digest(b.count, b.total) order by b.prefix collate "C"), ''[]'') '
    'from (select r.prefix, count(*), sum(r.row_hash) as total from (%s) as r (prefix, row_hash) group by 1) as b',
    coalesce(parts, 'select null, 0 where false'))
  into buckets using value, prefixes;
  return jsonb_build_object('epoch', realtime_toolkit.epoch(),
    'cursor', pg_snapshot_xmin(pg_current_snapshot())::text, 'buckets', buckets);
end
$$;
comment on function public.digest_scope(text, text, text[]) is
  'Count and sum of hashes of a scope''s visible rows, for the 16 children of each prefix of the key''s hash.';

create function public.rows_scope(kind text, value text, prefixes text[], keys_only boolean default false)
returns jsonb
language plpgsql stable
set search_path = '' set timezone = 'UTC' set datestyle = 'ISO' set intervalstyle = 'postgres'
set bytea_output = 'hex' set extra_float_digits = 1
as $$
declare
  tables realtime_toolkit.followed[] := realtime_toolkit.scope_tables(kind, value);
  parts text;
  found_rows jsonb;
begin
  perform realtime_toolkit.check_prefixes(prefixes, 32);
  select string_agg(format('select %s, t.changed_in from %s t where %s and (%s)', realtime_toolkit.item_sql(t,
    not keys_only), t.source, t.in_scope_sql, b.begins), ' union all ') into parts
  from unnest(tables) t
  cross join lateral (
    select coalesce(string_agg(realtime_toolkit.begins_sql(t, l.length), ' or '), 'false') as begins
    from (select distinct length(p) as length from unnest(prefixes) p) l
  ) b;
  execute format('select coalesce(jsonb_agg(r.item order by r.changed_in, r.item ->> ''table'' collate "C", '
    'r.item ->> ''key'' collate "C"), ''[]'') from (%s) as r (item, changed_in)', parts)
  into found_rows using value, prefixes;
  return jsonb_build_object('epoch', realtime_toolkit.epoch(),
    'cursor', pg_snapshot_xmin(pg_current_snapshot())::text, 'rows', found_rows);
end
$$;
comment on function public.rows_scope(text, text, text[], boolean) is
  'The visible rows of a scope whose key''s hash begins with one of the prefixes.';

revoke all on function public.tracked_tables(text) from public, anon, authenticated, service_role;
revoke all on function public.sync_scope(text, text, text, text, integer, text)
  from public, anon, authenticated, service_role;
revoke all on function public.digest_scope(text, text, text[]) from public, anon, authenticated, service_role;
revoke all on function public.rows_scope(text, text, text[], boolean) from public, anon, authenticated, service_role;
grant execute on function public.tracked_tables(text) to authenticated, service_role;
grant execute on function public.sync_scope(text, text, text, text, integer, text) to authenticated, service_role;
grant execute on function public.digest_scope(text, text, text[]) to authenticated, service_role;
grant execute on function public.rows_scope(text, text, text[], boolean) to authenticated, service_role;

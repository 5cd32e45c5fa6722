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
  altered text[],       -- of these, the ones whose values Realtime may alter
  nulled text[],        -- and the ones in which it shows NaN and the infinities as null
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
        realtime_toolkit.alteration(a.atttypid, a.atttypmod) as alteration,
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
        array_agg(c.name order by c.attnum) filter (where c.readable and c.alteration = 'always') as altered,
        array_agg(c.name order by c.attnum) filter (where c.readable and c.alteration = 'null') as nulled,
        -- Integers and UUIDs read the same in JSON as in plain text, which is several times as fast.
        case when bool_and(c.type in ('int2'::regtype, 'int4', 'int8', 'uuid')) filter (where c.place is not null)
          then string_agg(
            format('%L || t.%I', case when c.place = 1 then '[' else c.closing || ', ' end || c.quote, c.name),
            ' || ' order by c.place) filter (where c.place is not null)
            || format(' || %L', max(c.quote) filter (where c.is_last) || ']')
          else 'jsonb_build_array(' || string_agg(format('t.%I', c.name), ', ' order by c.place)
            filter (where c.place is not null) || ')::text'
        end as key_sql,
        -- With .*, for a column may be called t or r.
        case when bool_and(c.readable) then 'to_jsonb(t.*)'
          else '(select to_jsonb(r.*) from (select ' || string_agg(
            format('t.%I', c.name), ', ' order by c.attnum) filter (where c.readable) || ') r)'
        end as row_sql,
        bool_and(c.readable) filter (
          where c.place is not null or c.name in (c.scope_column, 'version', 'changed_in')) as followable
      from quoted c
      group by c.relation, c.scope_column
    )
    select n.nspname || '.' || r.relname, n.nspname::text, r.relname::text, format('%I.%I', n.nspname, r.relname),
      t.scope_column, t.keys, t.columns, coalesce(t.altered, '{}'), coalesce(t.nulled, '{}'), t.scope_type, t.key_types,
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

-- The epoch of what a scope shows: other columns, tables or rights are another history, too, so that a subscriber
-- with a cursor of before is sent everything anew.
create function realtime_toolkit.scope_epoch(tables realtime_toolkit.followed[]) returns text
language sql stable set search_path = ''
as $$
  select realtime_toolkit.epoch() || '/' || md5(string_agg(
    to_jsonb(array[t.name, t.scope_column, t.scope_type]::text[] || t.key_columns || t.columns || t.key_types
      || t.altered || t.nulled)::text, chr(31) order by t.name collate "C"))
  from unnest(tables) t
$$;
revoke all on function realtime_toolkit.scope_epoch(realtime_toolkit.followed[])
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.scope_epoch(realtime_toolkit.followed[]) to authenticated, service_role;

-- What realtime_toolkit.model.key_hash and row_hash are made of: MD5 over table, key (and version, changed_in).
create function realtime_toolkit.key_hash_sql(t realtime_toolkit.followed) returns text
language sql immutable set search_path = ''
as $$ select format('md5(%L || %s)', t.name || chr(31), t.key_sql) $$;
-- A salt stands before all else: behind it, two keys whose hashes had been made to collide would collide still.
create function realtime_toolkit.row_hash_sql(t realtime_toolkit.followed, salt text default '') returns text
language sql immutable set search_path = ''
as $$
  select format('(''x'' || left(md5(%L || %s || (%3$L || t.version || (%3$L || t.changed_in))), 16))::bit(64)::bigint',
    case when salt <> '' then salt || chr(31) else '' end || t.name || chr(31), t.key_sql, chr(31))
$$;
revoke all on function realtime_toolkit.key_hash_sql(realtime_toolkit.followed)
  from public, anon, authenticated, service_role;
revoke all on function realtime_toolkit.row_hash_sql(realtime_toolkit.followed, text)
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.key_hash_sql(realtime_toolkit.followed) to authenticated, service_role;
grant execute on function realtime_toolkit.row_hash_sql(realtime_toolkit.followed, text)
  to authenticated, service_role;

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
    'scope_column', t.scope_column, 'key_columns', t.key_columns, 'columns', t.columns,
    'altered', t.altered, 'nulled', t.nulled)
    order by t.name collate "C"), '[]')
  from realtime_toolkit.readable_tables(tracked_tables.kind) t
$$;
comment on function public.tracked_tables(text) is
  'The tables of a kind that the caller may follow: [{schema, table, scope_column, key_columns, columns, altered, nulled}].';

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

-- The key columns compared with a key as text[].
create function realtime_toolkit.is_key_sql(t realtime_toolkit.followed, key text) returns text
language sql immutable set search_path = ''
as $$
  select string_agg(format('t.%I = cast(%s[%s] as %s)', k.name, key, k.place, k.type), ' and ' order by k.place)
  from unnest(t.key_columns, t.key_types) with ordinality as k (name, type, place)
$$;
revoke all on function realtime_toolkit.is_key_sql(realtime_toolkit.followed, text)
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.is_key_sql(realtime_toolkit.followed, text) to authenticated, service_role;

-- One row by its key, as jsonb; or why it cannot be shown so: json may hold what jsonb refuses (U+0000, a number out of
-- range), and a row may be larger than a jsonb (256 MB). Such a row is named, and the others go on.
create function realtime_toolkit.guarded_row(t realtime_toolkit.followed, value text, key text[]) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  shown jsonb;
begin
  execute format('select %s from %s t where %s and %s', t.row_sql, t.source, t.in_scope_sql,
    realtime_toolkit.is_key_sql(t, '$2'))
  into shown using value, key;
  return jsonb_build_object('row', shown);
exception when data_exception or program_limit_exceeded or statement_too_complex then
  return jsonb_build_object('row', null, 'error', left(sqlerrm, 200));
end
$$;
revoke all on function realtime_toolkit.guarded_row(realtime_toolkit.followed, text, text[])
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.guarded_row(realtime_toolkit.followed, text, text[])
  to authenticated, service_role;

-- An item as it is sent: with its row, which is named instead where it cannot be shown or is too large to be sent.
create function realtime_toolkit.shown(
  t realtime_toolkit.followed, value text, key text[], item jsonb, has_row boolean
) returns jsonb
language plpgsql stable set search_path = ''
as $$
declare
  most constant integer := 64 * 1024 * 1024;
begin
  if not has_row then
    item := item || realtime_toolkit.guarded_row(t, value, key);
  end if;
  if pg_column_size(item) > most then
    item := item || jsonb_build_object('row', null, 'error',
      format('a row of %s MB is too large to be sent', pg_column_size(item) / 1048576));
  end if;
  return item;
end
$$;
revoke all on function realtime_toolkit.shown(realtime_toolkit.followed, text, text[], jsonb, boolean)
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.shown(realtime_toolkit.followed, text, text[], jsonb, boolean)
  to authenticated, service_role;

-- The key as text[], for guarded_row and for the place at which a page ends.
create function realtime_toolkit.key_texts_sql(t realtime_toolkit.followed) returns text
language sql immutable set search_path = ''
as $$
  select format('array[%s]', string_agg(format('t.%I::text', k.name), ', ' order by k.place))
  from unnest(t.key_columns) with ordinality as k (name, place)
$$;
revoke all on function realtime_toolkit.key_texts_sql(realtime_toolkit.followed)
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.key_texts_sql(realtime_toolkit.followed) to authenticated, service_role;

-- $1 value, $2 since, $3 seen, $4 the first transaction number that is not used yet, $5 key to go on after,
-- $6 most rows wanted: with it Postgres walks the scope's index, without it it would sort the whole rest.
create function realtime_toolkit.page_sql(
  t realtime_toolkit.followed, filter text, resumed boolean, with_row boolean
) returns text
language sql immutable set search_path = ''
as $$
  select format('select %s as at, t.changed_in, %s as item from %s t where %s%s%s order by %s limit $6',
    realtime_toolkit.key_texts_sql(t), realtime_toolkit.item_sql(t, with_row), t.source, t.in_scope_sql, filter,
    case when resumed then format(' and (%s) > (%s)',
      string_agg(format('t.%I', k.name), ', ' order by k.place),
      string_agg(format('cast($5[%s] as %s)', k.place, k.type), ', ' order by k.place)) end,
    string_agg(format('t.%I', k.name), ', ' order by k.place))
  from unnest(t.key_columns, t.key_types) with ordinality as k (name, type, place)
$$;
revoke all on function realtime_toolkit.page_sql(realtime_toolkit.followed, text, boolean, boolean)
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.page_sql(realtime_toolkit.followed, text, boolean, boolean)
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
  resumed boolean;
  with_row boolean;
  before record;
  page_rows constant integer := greatest(least(coalesce(page_size, 5000), 100000), 1);
  tables realtime_toolkit.followed[] := realtime_toolkit.scope_tables(kind, value);
  here text := realtime_toolkit.scope_epoch(tables);
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
      resumed := coalesce(t.name = last_table, false);
      select n, bytes, last_table, last_key into before;
      foreach with_row in array array[true, false] loop
        begin
          for r in execute realtime_toolkit.page_sql(t, filter, resumed, with_row)
            using value, since, seen, future, before.last_key, page_rows - before.n + 1
          loop
            more := n >= page_rows or bytes > page_bytes;
            exit when more;
            n := n + 1;
            items[n] := realtime_toolkit.shown(t, value, r.at, r.item, with_row);
            bytes := bytes + pg_column_size(items[n]);
            changed_in[n] := r.changed_in;
            last_table := t.name;
            last_key := r.at;
          end loop;
          exit;
        exception when data_exception or program_limit_exceeded then
          -- One of its rows cannot be shown: once more, each row by itself. A policy that raises does so again.
          if not with_row then
            raise;
          end if;
          n := before.n;
          bytes := before.bytes;
          last_table := before.last_table;
          last_key := before.last_key;
          more := false;
        end;
      end loop;
      exit series when more;
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
      from unnest(items[1:n], changed_in[1:n]) with ordinality as i (item, changed_in, place)));
end
$$;
comment on function public.sync_scope(text, text, text, text, integer, text) is
  'Visible rows of a scope changed since a cursor, from one snapshot, with the next cursor and the digest of all.';

create function realtime_toolkit.check_prefixes(prefixes text[], longest integer, most integer) returns void
language plpgsql immutable set search_path = ''
as $$
begin
  if cardinality(prefixes) > most then
    raise exception 'at most % prefixes at once', most using errcode = 'invalid_parameter_value';
  end if;
  if prefixes is null or exists (
    select from unnest(prefixes) p where p is null or p !~ '^[0-9a-f]*$' or length(p) > longest
  ) then
    raise exception 'prefixes are lower-case hexadecimal, at most % digits', longest
      using errcode = 'invalid_parameter_value';
  end if;
end
$$;
revoke all on function realtime_toolkit.check_prefixes(text[], integer, integer)
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.check_prefixes(text[], integer, integer) to authenticated, service_role;

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

-- $1 value, $2 prefixes: place (the key's hash), nth table, key, item, in the order of places. Keys are sorted first and
-- each row is read when it is come to, so that what is not sent is not read.
create function realtime_toolkit.rows_sql(tables realtime_toolkit.followed[], prefixes text[], with_row boolean)
returns text
language sql immutable set search_path = ''
as $$
  select 'select s.place, s.nth, s.at, i.item from (select * from (' || string_agg(
    format('select %s, %s, %s from %s t where %s and (%s)', realtime_toolkit.key_hash_sql(tables[u.nth]), u.nth,
      realtime_toolkit.key_texts_sql(tables[u.nth]), t.source, t.in_scope_sql, b.begins), ' union all ')
    || ') as k (place, nth, at) order by k.place collate "C") s cross join lateral (' || string_agg(
    format('select %s as item from %s t where s.nth = %s and %s and %s', realtime_toolkit.item_sql(tables[u.nth], with_row),
      t.source, u.nth, t.in_scope_sql, realtime_toolkit.is_key_sql(tables[u.nth], 's.at')), ' union all ')
    || ' offset 0) i order by s.place collate "C"'
  from generate_subscripts(tables, 1) as u (nth)
  cross join lateral (select (tables[u.nth]).*) t
  cross join lateral (
    select coalesce(string_agg(realtime_toolkit.begins_sql(tables[u.nth], l.length), ' or '), 'false') as begins
    from (select distinct length(p) as length from unnest(prefixes) p) l
  ) b
$$;
revoke all on function realtime_toolkit.rows_sql(realtime_toolkit.followed[], text[], boolean)
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.rows_sql(realtime_toolkit.followed[], text[], boolean)
  to authenticated, service_role;

-- With a salt, which a proof chooses anew each time, nobody who may write in the scope can have prepared rows whose
-- hashes add up to those of others.
create function public.digest_scope(
  kind text, value text, prefixes text[] default array[''], salt text default ''
) returns jsonb
language plpgsql stable
set search_path = '' set timezone = 'UTC' set datestyle = 'ISO' set intervalstyle = 'postgres'
set bytea_output = 'hex' set extra_float_digits = 1
as $$
declare
  tables realtime_toolkit.followed[] := realtime_toolkit.scope_tables(kind, value);
  parts text;
  buckets jsonb;
begin
  perform realtime_toolkit.check_prefixes(prefixes, 31, 5000);
  if salt is null or salt !~ '^[0-9A-Za-z]{0,64}$' then
    raise exception 'a salt is at most 64 letters and digits' using errcode = 'invalid_parameter_value';
  end if;
  select string_agg(format('select left(%s, %s), %s from %s t where %s and %s', realtime_toolkit.key_hash_sql(t),
    l.length + 1, realtime_toolkit.row_hash_sql(t, salt), t.source, t.in_scope_sql,
    realtime_toolkit.begins_sql(t, l.length)), ' union all ') into parts
  from unnest(tables) t, (select distinct length(p) as length from unnest(prefixes) p) l;
  execute format('select coalesce(jsonb_agg(jsonb_build_object(''prefix'', b.prefix) '
    '|| realtime_toolkit.digest(b.count, b.total) order by b.prefix collate "C"), ''[]'') '
    'from (select r.prefix, count(*), sum(r.row_hash) as total from (%s) as r (prefix, row_hash) group by 1) as b',
    coalesce(parts, 'select null, 0 where false'))
  into buckets using value, prefixes;
  return jsonb_build_object('epoch', realtime_toolkit.scope_epoch(tables),
    'cursor', pg_snapshot_xmin(pg_current_snapshot())::text, 'buckets', buckets);
end
$$;
comment on function public.digest_scope(text, text, text[], text) is
  'Count and sum of hashes of a scope''s visible rows, for the 16 children of each prefix of the key''s hash.';

-- The cheapest look at a scope: the digest of all that is visible (or, not whole, only what is known for nothing),
-- and what it cost, so that whoever looks again and again can keep to a budget.
create function public.glance_scope(kind text, value text, whole boolean default true) returns jsonb
language plpgsql stable
set search_path = '' set timezone = 'UTC' set datestyle = 'ISO' set intervalstyle = 'postgres'
set bytea_output = 'hex' set extra_float_digits = 1
as $$
declare
  began constant timestamptz := clock_timestamp();
  tables realtime_toolkit.followed[] := realtime_toolkit.scope_tables(kind, value);
  digest jsonb;
begin
  if whole then
    select d.digest into digest from realtime_toolkit.scope_digest(tables, value, '', null, null) d;
  end if;
  return jsonb_build_object('epoch', realtime_toolkit.scope_epoch(tables), 'pulse', realtime_toolkit.pulse(),
    'cursor', pg_snapshot_xmin(pg_current_snapshot())::text, 'digest', digest,
    'ms', round(extract(epoch from clock_timestamp() - began) * 1000, 3));
end
$$;
comment on function public.glance_scope(text, text, boolean) is
  'Digest of all that is visible of a scope, the epoch, the pulse of the server, and the milliseconds it took.';

-- As many whole prefixes as 8 MB of rows hold, in order; left are those that are to be asked for again. A first prefix
-- that is too large by itself is left, too, unless it names a single row: the caller asks for its children then.
create function public.rows_scope(kind text, value text, prefixes text[], keys_only boolean default false)
returns jsonb
language plpgsql stable
set search_path = '' set timezone = 'UTC' set datestyle = 'ISO' set intervalstyle = 'postgres'
set bytea_output = 'hex' set extra_float_digits = 1
as $$
declare
  most_bytes constant bigint := 8 * 1024 * 1024;
  tables realtime_toolkit.followed[] := realtime_toolkit.scope_tables(kind, value);
  wanted text[] := array(select distinct p collate "C" as p from unnest(prefixes) p order by p);
  at integer := 0;          -- the prefix whose rows are coming
  whole integer := 0;       -- rows of the prefixes before it
  items jsonb[] := '{}';
  n integer := 0;
  bytes bigint := 0;
  full_up boolean := false;
  with_row boolean;
  r record;
begin
  perform realtime_toolkit.check_prefixes(prefixes, 32, 5000);
  foreach with_row in array array[not keys_only, false] loop
    begin
      for r in execute realtime_toolkit.rows_sql(tables, wanted, with_row) using value, wanted loop
        while not starts_with(r.place, wanted[at + 1]) loop
          at := at + 1;
          whole := n;
        end loop;
        full_up := bytes > most_bytes;
        exit when full_up;
        n := n + 1;
        items[n] := case when keys_only then r.item
          else realtime_toolkit.shown(tables[r.nth], value, r.at, r.item, with_row) end;
        bytes := bytes + pg_column_size(items[n]);
      end loop;
      exit;
    exception when data_exception or program_limit_exceeded then
      if not with_row then
        raise;
      end if;
      at := 0; whole := 0; n := 0; bytes := 0; full_up := false;
    end;
  end loop;
  return jsonb_build_object('epoch', realtime_toolkit.scope_epoch(tables),
    'cursor', pg_snapshot_xmin(pg_current_snapshot())::text,
    'left', to_jsonb(case when full_up then wanted[at + 1:] else '{}' end),
    'rows', to_jsonb(items[1:case when full_up then whole else n end]));
end
$$;
comment on function public.rows_scope(text, text, text[], boolean) is
  'The visible rows of a scope whose key''s hash begins with one of the prefixes: as many whole prefixes as 8 MB hold.';

revoke all on function public.tracked_tables(text) from public, anon, authenticated, service_role;
revoke all on function public.sync_scope(text, text, text, text, integer, text)
  from public, anon, authenticated, service_role;
revoke all on function public.digest_scope(text, text, text[], text) from public, anon, authenticated, service_role;
revoke all on function public.glance_scope(text, text, boolean) from public, anon, authenticated, service_role;
revoke all on function public.rows_scope(text, text, text[], boolean) from public, anon, authenticated, service_role;
grant execute on function public.tracked_tables(text) to authenticated, service_role;
grant execute on function public.sync_scope(text, text, text, text, integer, text) to authenticated, service_role;
grant execute on function public.digest_scope(text, text, text[], text) to authenticated, service_role;
grant execute on function public.glance_scope(text, text, boolean) to authenticated, service_role;
grant execute on function public.rows_scope(text, text, text[], boolean) to authenticated, service_role;

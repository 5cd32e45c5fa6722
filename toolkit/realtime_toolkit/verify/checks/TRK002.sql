-- TRK002: The key or scope column of a tracked table has a type that Realtime cannot match
-- Realtime finds the changed row, and the scopes that it belongs to, by the text of these columns as it writes it: bytea without
-- \x, char(n) and bit(n) cut to their first character. Under RLS no row is found then, and no change of the table ever comes
-- live. Types without one exact text are no better. track_table refuses them; a column's type may change later.
with recursive base (relid, attnum, type) as (
  select relid, attnum, type from own_column
  union all
  select b.relid, b.attnum, y.typbasetype from base b join pg_type y on y.oid = b.type where y.typbasetype <> 0
),
unmatched as (
  select k.relid, k.kind, k.scope_column, c.attnum, c.name, format_type(c.type, c.typmod) as type, case
      when y.oid = 'bytea'::regtype then 'Realtime writes its values without \x'
      when y.oid in ('bpchar'::regtype, 'bit'::regtype) then 'Realtime cuts its values to their first character'
      else 'its values have no single text' end as why,
    case when y.oid = 'bytea'::regtype then format('encode(%I, ''hex'')', c.name) else format('%I::text', c.name) end as as_text
  from tracked k
  join own_column c using (relid)
  join base b on b.relid = c.relid and b.attnum = c.attnum
  join pg_type y on y.oid = b.type and y.typtype <> 'd'
  where (c.name = k.scope_column or exists (select from primary_key p where p.relid = k.relid and c.attnum = any (p.cols)))
    and (y.oid in ('bytea'::regtype, 'bpchar'::regtype, 'bit'::regtype, 'float4'::regtype, 'float8'::regtype, 'money'::regtype,
                   'json'::regtype, 'jsonb'::regtype, 'xml'::regtype)
      or y.typtype = 'c' or y.typcategory = 'A')
)
select
  'TRK002' as code, 'error' as level, t.fqn as object,
  format('%s is tracked, but Realtime''s changes cannot be matched by %s: they do not arrive live, or under another key.', t.fqn,
    string_agg(format('%I (%s: %s)', u.name, u.type, u.why), ', ' order by u.attnum)) as detail,
  format('drop trigger if exists zz_realtime_toolkit_fixed on %1$s; alter table %1$s %2$s; '
    'select public.track_table(%1$L, kind => %3$L, scope_column => %4$L);', t.fqn,
    string_agg(format('alter column %I type text using %s', u.name, u.as_text), ', ' order by u.attnum), u.kind, u.scope_column) as fix,
  t.fqn as fingerprint
from unmatched u join own_table t using (relid)
group by t.relid, t.fqn, u.kind, u.scope_column

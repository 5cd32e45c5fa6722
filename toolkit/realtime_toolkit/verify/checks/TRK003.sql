-- TRK003: Realtime alters the values of a tracked table's column
-- char(n) and bit(n) arrive cut to their first character, the fields of a composite type by rules of their own, a type with a
-- cast to json as its text. A listener cannot believe such a value, so it asks for the row again after each change: one more
-- query for every subscriber. (NaN and the infinities arrive as null, and only nulls are asked for.)
with recursive altered (relid, attnum, type, typmod) as (  -- what is under domains and in arrays
  select c.relid, c.attnum, c.type, c.typmod from own_column c join tracked k using (relid)
  union all
  select a.relid, a.attnum, case y.typtype when 'd' then y.typbasetype else y.typelem end,
    case when y.typtype = 'd' and a.typmod = -1 then y.typtypmod else a.typmod end
  from altered a join pg_type y on y.oid = a.type where y.typtype = 'd' or y.typcategory = 'A' and y.typelem <> 0
)
select
  'TRK003' as code, 'warning' as level, c.fqn || '.' || quote_ident(c.name) as object,
  format('%s.%s (%s) does not arrive as it is: every change of such a row is asked for again.', c.fqn, quote_ident(c.name),
    format_type(c.type, c.typmod)) as detail,
  case
    when c.type = 'bpchar'::regtype and c.typmod > 4
      then format('alter table %s alter column %I type varchar(%s);', c.fqn, c.name, c.typmod - 4)
    when c.type = 'bpchar'::regtype then format('alter table %s alter column %I type text;', c.fqn, c.name)
    when c.type = 'bit'::regtype
      then format('alter table %s alter column %I type bit varying%s;', c.fqn, c.name, coalesce(format('(%s)', nullif(c.typmod, -1)), ''))
    else format('-- give %s columns of plain types, or jsonb, in place of %I', c.fqn, c.name)
  end as fix,
  c.fqn || '.' || c.name as fingerprint
from altered a join own_column c using (relid, attnum) join pg_type y on y.oid = a.type join tracked k using (relid)
where c.name <> k.scope_column  -- those, and keys, are TRK002's
  and not exists (select from primary_key p where p.relid = c.relid and c.attnum = any (p.cols))
  and (
    y.oid = 'bpchar'::regtype and a.typmod <> 5  -- of char(n) it is n + 4
    or y.oid = 'bit'::regtype and a.typmod <> 1
    or y.typtype = 'c'
    or y.oid >= 16384 and exists (
      select from pg_cast x where x.castsource = y.oid and x.casttarget in ('json'::regtype, 'jsonb'::regtype))
  )

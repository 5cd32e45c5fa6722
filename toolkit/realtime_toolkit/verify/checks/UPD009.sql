-- UPD009: An index on updated_at turns HOT updates off
-- Every update changes updated_at (and version, and changed_in), so with an index on one of them no update is heap-only any
-- more (measured: from 100 % to 0 %), and a row that is streamed into writes every index of the table each time.
select
  'UPD009' as code, 'warning' as level, i.indexrelid::regclass::text as object,
  format('The index %s holds %s.%s, which every UPDATE changes: no update of %s can be heap-only (HOT).',
    i.indexrelid::regclass, t.fqn, string_agg(quote_ident(c.name), ', '), t.fqn) as detail,
  format('drop index %s;', i.indexrelid::regclass) as fix,
  i.indexrelid::regclass::text as fingerprint
from pg_index i
join published t on t.relid = i.indrelid
join own_column c on c.relid = t.relid and c.attnum = any (i.indkey::int2[])
where exists (select from keeper k where k.relid = t.relid and k.column_name = c.name)
  or (t.relid in (select relid from tracked) and c.name in ('updated_at', 'version', 'changed_in'))
group by i.indexrelid, t.fqn

-- PUB007: A row filter or column list of the publication makes UPDATE and DELETE fail (42P10)
-- Postgres needs every column of a row filter inside the replica identity, and every identity column inside a column
-- list, as soon as updates or deletes are published. Writers get the error. Realtime applies neither filter nor list.
with broken as (
  select n.relid, 'row filter' as what, string_agg(quote_ident(c.name), ', ' order by c.attnum) as names,
    'uses columns outside the replica identity' as how
  from named n join identity i using (relid) join own_column c using (relid)
  where n.row_filter is not null and i.cols is not null and c.attnum <> all (i.cols)
    and pg_get_expr(n.row_filter, n.relid) ~ c.pattern
  group by n.relid
  union all
  select n.relid, 'column list', string_agg(quote_ident(c.name), ', ' order by c.attnum), 'leaves out columns of the replica identity'
  from named n join identity i using (relid) join own_column c using (relid)
  where n.column_list is not null and c.attnum = any (i.cols) and (i.kind = 'f' or c.attnum <> all (n.column_list::int2[]))
  group by n.relid
)
select
  'PUB007' as code, 'error' as level, t.fqn as object,
  format('The publication''s %s for %s %s (%s): every UPDATE and DELETE fails with 42P10. Realtime would ignore it anyway.',
    b.what, t.fqn, b.how, b.names) as detail,
  format('alter publication supabase_realtime drop table %1$s; alter publication supabase_realtime add table %1$s;', t.fqn) as fix,
  t.fqn || ' ' || b.what as fingerprint
from broken b join own_table t using (relid)
where exists (select from publication where pubupdate or pubdelete)

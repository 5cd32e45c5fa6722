-- UPD004: updated_at has no default
-- A new row then has none, or the one its writer thought of. A BEFORE INSERT trigger that writes the column serves as well.
select
  'UPD004' as code, 'warning' as level, c.fqn || '.' || quote_ident(c.name) as object,
  format('%s.%s has no default: a new row has no time of change, or the writer''s.', c.fqn, quote_ident(c.name)) as detail,
  format('alter table %s alter column %I set default now();', c.fqn, c.name) as fix,
  c.fqn || '.' || c.name as fingerprint
from change_time c
where not c.has_default and not exists (
  select from keeper k
  where k.relid = c.relid and k.column_name = c.name and k.inserts and k.enabled in ('O', 'A')
)

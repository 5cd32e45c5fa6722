-- UPD003: updated_at may be null
select
  'UPD003' as code, 'warning' as level, c.fqn || '.' || quote_ident(c.name) as object,
  format('%s.%s may be null: a row without it has no place in any order of changes.', c.fqn, quote_ident(c.name)) as detail,
  format('update %1$s set %2$I = now() where %2$I is null; alter table %1$s alter column %2$I set not null;', c.fqn, c.name) as fix,
  c.fqn || '.' || c.name as fingerprint
from change_time c where not c.not_null

-- UPD006: The trigger that keeps updated_at is disabled
select
  'UPD006' as code, 'error' as level, format('trigger %I on %s', k.name, c.fqn) as object,
  format('The trigger %I that keeps %s.%s %s.', k.name, c.fqn, quote_ident(c.name),
    case k.enabled when 'R' then 'fires on replicas only' else 'is disabled' end) as detail,
  format('alter table %s enable trigger %I;', c.fqn, k.name) as fix,
  c.fqn || ' ' || k.name as fingerprint
from change_time c join keeper k on k.relid = c.relid and k.column_name = c.name
where k.enabled in ('D', 'R') and not exists (
  select from keeper o where o.relid = c.relid and o.column_name = c.name and o.enabled in ('O', 'A')
)

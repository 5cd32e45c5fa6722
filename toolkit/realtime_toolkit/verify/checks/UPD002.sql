-- UPD002: updated_at has the wrong type
-- Only timestamptz names a moment: a timestamp without time zone means something else in every session, a date or a text
-- does not order two changes of one day.
select
  'UPD002' as code, 'error' as level, c.fqn || '.' || quote_ident(c.name) as object,
  format('%s.%s is %s, not timestamptz.', c.fqn, quote_ident(c.name), format_type(c.type, c.typmod)) as detail,
  -- A trigger that writes a number would fail from then on: it has to be changed along with the column.
  format(case when c.base_type ~ 'int|numeric|real|double' then '-- with its default and its trigger: ' else '' end
    || 'alter table %1$s alter column %2$I type timestamptz using %2$I%3$s;', c.fqn, c.name,
    case when c.base_type = 'timestamp without time zone' then ' at time zone ''UTC''' else '::timestamptz' end) as fix,
  c.fqn || '.' || c.name as fingerprint
from change_time c
where c.base_type <> 'timestamp with time zone' or c.typmod between 0 and 5

-- UPD007: updated_at is kept for some changes only
-- A trigger UPDATE OF some columns, or with a WHEN condition other than "the row differs", leaves the time of other changes
-- as it was.
with partial as (
  select k.*, (regexp_match(k.definition, ' WHEN \((.*)\) EXECUTE '))[1] as condition from keeper k where k.enabled in ('O', 'A')
)
select
  'UPD007' as code, 'error' as level, format('trigger %I on %s', k.name, c.fqn) as object,
  format('The trigger %I keeps %s.%s only %s: other changes leave it as it was.', k.name, c.fqn, quote_ident(c.name),
    case when cardinality(k.only_columns) > 0
      then 'for UPDATE OF ' || (select string_agg(quote_ident(a.name), ', ' order by a.attnum) from own_column a
        where a.relid = c.relid and a.attnum = any (k.only_columns))
      else 'when ' || k.condition end) as detail,
  format('drop trigger %1$I on %2$s; create trigger %1$I before %4$supdate on %2$s for each row execute function %3$s();',
    k.name, c.fqn, k.function, case when k.inserts then 'insert or ' end) as fix,
  c.fqn || ' ' || k.name as fingerprint
from change_time c join partial k on k.relid = c.relid and k.column_name = c.name
where not exists (
  select from partial o
  where o.relid = c.relid and o.column_name = c.name and cardinality(o.only_columns) = 0
    and coalesce(o.condition, '') ~* '^$|^\(*(old\.\* (is distinct from|\*<>|<>) new\.\*|new\.\* (is distinct from|\*<>|<>) old\.\*)\)*$'
)

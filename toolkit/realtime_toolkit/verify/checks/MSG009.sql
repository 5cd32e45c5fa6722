-- MSG009: A BEFORE trigger broadcasts
-- What it tells is not yet so: a later trigger, a check, a unique key or ON CONFLICT may change the row or keep it out, and
-- columns that other BEFORE triggers write are missing or old.
select
  'MSG009' as code, 'error' as level, format('function %s', s.signature) as object,
  format('The trigger %I on %s runs %s BEFORE the change, and that broadcasts: subscribers hear of rows as they may never be stored.',
    g.tgname, t.fqn, s.signature) as detail,
  format('drop trigger %1$I on %2$s; -- and make it again as it was, but AFTER: create trigger %1$I after … on %2$s for each row '
    'execute function %3$s;', g.tgname, t.fqn, s.signature) as fix,
  t.fqn || ' ' || g.tgname as fingerprint
from pg_trigger g join own_table t on t.relid = g.tgrelid
join pg_proc f on f.oid = g.tgfoid
cross join lateral (
  select f.oid::regprocedure::text as signature
  where f.oid in (select function from sender)
    or exists (select from sender o join pg_proc p on p.oid = o.function
               where not o.is_trigger and f.prosrc ~ ('\m' || regexp_replace(p.proname, '\W', '.', 'g') || '"?\s*\('))
) as s
where not g.tgisinternal and g.tgenabled <> 'D' and g.tgtype::int & (1 | 2) = (1 | 2)
  and f.prosrc !~* '\mtg_when\M'

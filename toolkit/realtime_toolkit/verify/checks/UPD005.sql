-- UPD005: Nothing keeps updated_at: no BEFORE UPDATE row trigger writes it
-- An AFTER trigger or a statement trigger cannot write it; one that writes coalesce(new.updated_at, …) keeps the old value,
-- which is never null in an UPDATE. One that updates the row once more does keep it, as UPD010 finds by trying. The mend stamps a new row as well, of which all of OLD is null.
select
  'UPD005' as code, 'error' as level, c.fqn || '.' || quote_ident(c.name) as object,
  format('%s.%s is not kept: %s, so it goes stale at the first UPDATE.', c.fqn, quote_ident(c.name),
    coalesce((
      select format('the trigger %I writes coalesce(new.%s, …), which is the old value', k.name, quote_ident(c.name)) from keeper k
      where k.relid = c.relid and k.column_name = c.name limit 1
    ), (
      select format('the trigger %I is %s and cannot write it', g.tgname,
        case when g.tgtype & 1 = 0 then 'a statement trigger' else 'an AFTER trigger' end)
      from pg_trigger g join pg_proc f on f.oid = g.tgfoid
      where g.tgrelid = c.relid and not g.tgisinternal and g.tgtype & 16 = 16 and g.tgtype::int & 3 <> 3
        and f.prosrc ~* ('new\s*\.\s*"?' || c.name)
      limit 1
    ), 'there is no BEFORE UPDATE row trigger that writes it')) as detail,
  format('create function %1$I.%2$I() returns trigger language plpgsql set search_path = '''' as $$ begin '
    'new.%3$I := greatest(clock_timestamp(), old.%3$I + interval ''1 microsecond''); return new; end $$; '
    'create trigger %2$I before insert or update on %4$s for each row execute function %1$I.%2$I();',
    c.schema, 'touch_' || c.table_name, c.name, c.fqn) as fix,
  c.fqn || '.' || c.name as fingerprint
from change_time c
where not exists (
  select from keeper k
  where k.relid = c.relid and k.column_name = c.name
    and coalesce(k.written, '') !~ ('^coalesce\(\s*new\s*\.\s*"?' || lower(c.name))
) and not exists (
  select from pg_trigger g join pg_proc f on f.oid = g.tgfoid
  where g.tgrelid = c.relid and not g.tgisinternal and g.tgenabled in ('O', 'A') and g.tgtype::int & (2 | 16) = 16
    and f.prosrc ~* ('\mupdate\s+(only\s+)?("?\w+"?\s*\.\s*)?"?'
      || regexp_replace(c.table_name, '[][\\(){}.*+?^$|]', '\\\&', 'g') || '"?\s[^;]*\mset\M[^;]*"?' || c.name || '"?\s*=')
)

-- UPD008: updated_at is not strictly increasing
-- now() is the start of the transaction: two updates in one transaction get the same time, and a long transaction commits a
-- time that every reader has already passed. It can be neither an order nor a cursor.
select
  'UPD008' as code, 'warning' as level, c.fqn || '.' || quote_ident(c.name) as object,
  format('%s.%s is taken from %s (trigger %I): two updates in one transaction get the same value, so it is not strictly increasing and '
    'not usable as a cursor.', c.fqn, quote_ident(c.name),
    coalesce(substring(k.written from '(now\(\)|current_timestamp|transaction_timestamp\(\)|statement_timestamp\(\)|localtimestamp)'),
      'now()'), k.name) as detail,
  format('-- in %s(): new.%2$I := greatest(clock_timestamp(), old.%2$I + interval ''1 microsecond'');', k.function, c.name) as fix,
  c.fqn || '.' || c.name as fingerprint
from change_time c join keeper k on k.relid = c.relid and k.column_name = c.name
where k.enabled in ('O', 'A')
  and coalesce(k.written, '') !~ ('^coalesce\(\s*new\s*\.|\mold\s*\.\s*"?' || lower(c.name))
  and (
    k.written ~ '\mnow\(\)|current_timestamp|transaction_timestamp|statement_timestamp|localtimestamp|current_date|''now'''
    or k.written is not null and k.written !~ 'clock_timestamp' and k.source !~ 'clock_timestamp'
      and k.source ~ '\mnow\(\)|current_timestamp|transaction_timestamp'
    or k.function ~ '\mmoddatetime$'
  )

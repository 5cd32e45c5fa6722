-- SRV002: Too few replication slots
-- Realtime keeps two temporary slots: one for postgres_changes, one for broadcasts from the database.
select
  'SRV002' as code, 'error' as level, 'server setting max_replication_slots' as object,
  format('max_replication_slots is %s and %s are taken by others: Realtime needs two.', current_setting('max_replication_slots'), taken)
    as detail,
  format('alter system set max_replication_slots = %s; -- then restart the server', taken + 8) as fix,
  'max_replication_slots' as fingerprint
from (select count(*) as taken from pg_replication_slots where not temporary) as slots
where current_setting('max_replication_slots')::int - taken < 2

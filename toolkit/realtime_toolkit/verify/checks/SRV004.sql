-- SRV004: max_slot_wal_keep_size cuts a slot off too early
-- A slot that falls behind by more than this is invalidated, and what it had not sent is lost. Zero or a few megabytes is one
-- burst of writes.
select
  'SRV004' as code, 'warning' as level, 'server setting max_slot_wal_keep_size' as object,
  format('max_slot_wal_keep_size is %s: a slot that falls behind by one burst of writes is invalidated and its changes are lost.',
    current_setting('max_slot_wal_keep_size')) as detail,
  'alter system set max_slot_wal_keep_size = ''4GB''; select pg_reload_conf();' as fix, 'max_slot_wal_keep_size' as fingerprint
from pg_settings where name = 'max_slot_wal_keep_size' and setting::bigint between 0 and 63

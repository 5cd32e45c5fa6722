-- SRV005: An inactive replication slot holds WAL back
-- Nobody reads it, so the server keeps every segment since its restart_lsn, until the disk is full or
-- max_slot_wal_keep_size invalidates it.
select
  'SRV005' as code, 'warning' as level, 'replication slot ' || quote_ident(slot_name) as object,
  format('The replication slot %I is inactive and holds back %s of WAL%s.', slot_name,
    pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)),
    case when current_setting('max_slot_wal_keep_size') = '-1' then ', without limit (max_slot_wal_keep_size is -1)' else '' end) as detail,
  format('select pg_drop_replication_slot(%L);', slot_name) as fix,
  slot_name as fingerprint
from pg_replication_slots
where (database is null or database = current_database()) and not active and not temporary and restart_lsn is not null and not pg_is_in_recovery()

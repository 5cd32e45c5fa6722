-- SRV001: wal_level is not logical
select
  'SRV001' as code, 'error' as level, 'server setting wal_level' as object,
  format('wal_level is %s: logical replication, and so Realtime, cannot start.', current_setting('wal_level')) as detail,
  'alter system set wal_level = logical; -- then restart the server' as fix, 'wal_level' as fingerprint
where current_setting('wal_level') <> 'logical'

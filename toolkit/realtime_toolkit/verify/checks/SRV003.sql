-- SRV003: Too few WAL senders
-- Each of Realtime's two slots is read through a WAL sender; physical replicas and backups need their own.
select
  'SRV003' as code, 'error' as level, 'server setting max_wal_senders' as object,
  format('max_wal_senders is %s: Realtime needs two besides those of replicas and backups.', current_setting('max_wal_senders')) as detail,
  'alter system set max_wal_senders = 10; -- then restart the server' as fix, 'max_wal_senders' as fingerprint
where current_setting('max_wal_senders')::int < 2

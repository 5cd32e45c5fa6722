-- SRV006: output_plugin_libraries shuts wal2json out
-- New in Postgres 17.11, and its default leaves wal2json out: Realtime's joins still answer "Subscribed to PostgreSQL", and no
-- change ever arrives (42501 in the server's log).
select
  'SRV006' as code, 'error' as level, 'server setting output_plugin_libraries' as object,
  format('output_plugin_libraries is "%s", without wal2json: subscriptions are answered "Subscribed to PostgreSQL" and nothing ever '
    'arrives.', current_setting('output_plugin_libraries')) as detail,
  'alter system set output_plugin_libraries = pgoutput, test_decoding, wal2json; select pg_reload_conf();' as fix,
  'output_plugin_libraries' as fingerprint
where coalesce(current_setting('output_plugin_libraries', true), 'wal2json') !~ '(^|[ ,"/])wal2json(\.so)?($|[ ,"])'

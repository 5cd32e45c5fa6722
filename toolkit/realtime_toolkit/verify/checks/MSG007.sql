-- MSG007: A trigger function broadcasts without SECURITY DEFINER
-- realtime.send inserts into realtime.messages with the rights of whoever made the change and swallows every exception: a
-- client without an INSERT policy there changes the row, and nobody hears of it.
select
  'MSG007' as code, 'error' as level, format('function %s', signature) as object,
  format('The trigger function %s calls realtime.send or realtime.broadcast_changes without SECURITY DEFINER: for a writer without '
    'rights on realtime.messages nothing is sent, and no error says so.', signature) as detail,
  format('alter routine %s security definer set search_path = '''';', signature) as fix,
  signature as fingerprint
from sender s where is_trigger and not definer

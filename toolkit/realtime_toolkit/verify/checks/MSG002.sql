-- MSG002: A constant-true policy on realtime.messages
-- It lets its roles into every private topic there is and will be.
select
  'MSG002' as code, 'error' as level, format('policy %I on realtime.messages', name) as object,
  format('The policy %I on realtime.messages is always true: %s may %s every private channel.', name,
    array_to_string(role_names, ' and '), case cmd when 'a' then 'send on' when 'r' then 'join' else 'join and send on' end) as detail,
  format('drop policy %I on realtime.messages; -- and make one that asks for realtime.topic() and extension', name) as fix,
  name as fingerprint
from channel_policy where always and permissive and cmd in ('r', 'a', '*') and role_names <> '{}'

-- MSG001: Row level security is off on realtime.messages
-- Private channels are authorized by its policies alone: with RLS off every token joins every private topic and sends on it.
select
  'MSG001' as code, 'error' as level, 'realtime.messages' as object,
  'Row level security is off on realtime.messages: every token may join every private channel and send on it.' as detail,
  'alter table realtime.messages enable row level security;' as fix,
  'realtime.messages' as fingerprint
from message_table where not rls

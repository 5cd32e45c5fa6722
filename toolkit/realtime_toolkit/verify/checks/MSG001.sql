-- MSG001: Row level security is off on realtime.messages
-- Private channels are authorized by its policies alone: with RLS off every token joins every private topic and sends on it.
-- Only its owner can mend that, who on a Supabase project is not postgres.
select
  'MSG001' as code, 'error' as level, 'realtime.messages' as object,
  'Row level security is off on realtime.messages: every token may join every private channel and send on it.' as detail,
  'alter table realtime.messages enable row level security;'
    || case when pg_has_role(relowner, 'usage') then '' else format(' -- as %s, its owner, or a superuser', relowner::regrole) end as fix,
  'realtime.messages' as fingerprint
from message_table join pg_class using (oid) where not rls

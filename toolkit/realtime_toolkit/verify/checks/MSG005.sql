-- MSG005: Channels can be read but not written
-- A role that may join and not send has its broadcasts dropped silently and its presence refused. For broadcast that is a
-- design where the database sends (a function calls realtime.send or realtime.broadcast_changes), so it is judged only where
-- nothing sends.
with granted as (  -- MSG002 has the constant-true ones
  select r as role_name, e as extension,
    bool_or(c.cmd in ('r', '*')) as reads, bool_or(c.cmd in ('a', '*')) as writes,
    min(c.name) filter (where c.cmd in ('r', '*') and not c.always) as read_policy
  from channel_policy c, unnest(c.role_names) r, unnest(c.extensions) e
  where c.permissive group by r, e
)
select
  'MSG005' as code, 'warning' as level, format('policy %I on realtime.messages', read_policy) as object,
  format('%s may join private channels for %s (policy %I) but no INSERT policy lets the role write: %s.',
    string_agg(role_name, ' and ' order by role_name), extension, read_policy,
    case extension when 'broadcast' then 'what it sends is dropped silently, and nothing sends from the database either'
      else 'tracking presence is refused' end) as detail,
  format('create policy %I on realtime.messages for insert to %s with check (extension = %L and realtime.topic() = /* … */);',
    left(read_policy, case when octet_length(read_policy) = length(read_policy) then 55 else 13 end) || ' (write)', string_agg(quote_ident(role_name), ', ' order by role_name), extension) as fix,
  extension || ' ' || string_agg(role_name, ' ' order by role_name) as fingerprint
from granted
where reads and not writes and read_policy is not null and (extension = 'presence' or not exists (select from sender))
  -- A policy for both extensions in a design where the database sends means the broadcasts.
  and not (extension = 'presence' and exists (select from sender) and not exists (select from granted where writes))
group by extension, read_policy

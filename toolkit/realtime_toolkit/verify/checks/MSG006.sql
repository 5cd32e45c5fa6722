-- MSG006: Channels can be written but not read
-- Joining a private channel needs SELECT: a role that may only INSERT is refused at the join, so it can never send either.
with granted as (  -- MSG002 has the constant-true ones
  select r as role_name, e as extension,
    bool_or(c.cmd in ('r', '*')) as reads, bool_or(c.cmd in ('a', '*')) as writes,
    min(c.name) filter (where c.cmd in ('a', '*') and not c.always) as write_policy
  from channel_policy c, unnest(c.role_names) r, unnest(c.extensions) e
  where c.permissive group by r, e
)
select
  'MSG006' as code, 'error' as level, format('policy %I on realtime.messages', write_policy) as object,
  format('%s may write %s on private channels (policy %I) but no SELECT policy lets the role read: %s.',
    string_agg(distinct role_name, ' and '), string_agg(distinct extension, ' and '), write_policy,
    'the join is refused unless the other extension lets it in, and nothing comes back') as detail,
  format('create policy %I on realtime.messages for select to %s using (extension in (%s) and realtime.topic() = /* … */);',
    left(write_policy, case when octet_length(write_policy) = length(write_policy) then 55 else 13 end) || ' (read)', string_agg(distinct quote_ident(role_name), ', '), string_agg(distinct quote_literal(extension), ', ')) as fix,
  write_policy as fingerprint
from granted where writes and not reads and write_policy is not null group by write_policy

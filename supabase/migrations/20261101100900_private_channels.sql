-- Private channels: a user may join conversation:<uuid> of their own conversations, and no other topic.
-- One policy per extension and direction. On hosted Supabase postgres does not own realtime.messages but may
-- make policies on it; row level security is on there already. Where it may not (a Postgres of one's own, without
-- supautils), everything else is in place, and who may has to call the function below.

-- The conversation a topic names, or null: a policy that raised on a foreign topic would look like an outage.
create function realtime_toolkit.conversation_of(topic text) returns uuid
language sql immutable parallel safe set search_path = ''
as $$
  select case when topic ~ '^conversation:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
    then substr(topic, 14)::uuid end
$$;
comment on function realtime_toolkit.conversation_of(text) is
  'The UUID in conversation:<uuid>; null for any other topic.';
revoke all on function realtime_toolkit.conversation_of(text) from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.conversation_of(text) to authenticated, service_role;

-- Makes the policies that are missing; what is in the way is told, not raised.
create function realtime_toolkit.make_channel_policies() returns void
language plpgsql set search_path = ''
as $$
declare
  wanted record;
begin
  if to_regclass('realtime.messages') is null or to_regprocedure('realtime.topic()') is null then
    raise notice 'there is no realtime.messages here: no policies for private channels';
    return;
  end if;
  for wanted in
    select 'conversation ' || extension || ' ' || direction as name, extension, direction,
      case direction when 'read' then 'select' else 'insert' end as command,
      case direction when 'read' then 'using' else 'with check' end as clause
    from unnest(array['broadcast', 'presence']) extension, unnest(array['read', 'write']) direction
  loop
    continue when exists (
      select from pg_catalog.pg_policy p
      where p.polrelid = 'realtime.messages'::regclass and p.polname = wanted.name
    );
    execute format(
      'create policy %I on realtime.messages for %s to authenticated %s ('
      'realtime.messages.extension = %L and exists ('
      'select from public.conversations c '
      'where c.id = realtime_toolkit.conversation_of((select realtime.topic())) '
      'and c.user_id = (select auth.uid())))',
      wanted.name, wanted.command, wanted.clause, wanted.extension);
  end loop;
exception when insufficient_privilege then
  raise notice 'no user can join a private channel yet: % may make no policies on realtime.messages, which belongs to %: as a superuser run: select realtime_toolkit.make_channel_policies();',
    current_user, (select relowner::regrole from pg_catalog.pg_class where oid = 'realtime.messages'::regclass);
end
$$;
comment on function realtime_toolkit.make_channel_policies() is
  'Makes the policies on realtime.messages for conversation:<uuid>; to be called by whoever may make them.';
revoke all on function realtime_toolkit.make_channel_policies() from public, anon, authenticated, service_role;

select realtime_toolkit.make_channel_policies();

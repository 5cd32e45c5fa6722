-- expect: BRC002
-- Kind: broadcast.policy-raises: substring of the topic is cast to bigint; topics of users ("user:<uuid>") make it raise for everybody.
create table public.channels (id bigint generated always as identity primary key, name text not null);
create table public.channel_users (
  user_id uuid not null references auth.users on delete cascade,
  channel_id bigint not null references public.channels on delete cascade,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (user_id, channel_id)
);
create index on public.channel_users (channel_id);
create schema private;
grant usage on schema private to authenticated;
create function private.topic_channel() returns bigint language sql stable set search_path = '' as $$
  select split_part(realtime.topic(), ':', 2)::bigint
$$;
revoke all on function private.topic_channel() from public;
grant execute on function private.topic_channel() to authenticated;
create function public.stamp_row() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger channel_users_stamp_row before insert or update on public.channel_users
  for each row execute function public.stamp_row();
alter table public.channels enable row level security;
alter table public.channel_users enable row level security;
create policy "own" on public.channel_users for select to authenticated
  using (user_id = (select auth.uid()));
create policy "own" on public.channels for select to authenticated
  using (id in (select u.channel_id from public.channel_users u where u.user_id = (select auth.uid())));
create function private.tell_both() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.send(jsonb_build_object('channel', new.channel_id), 'joined', 'user:' || new.user_id, true);
  perform realtime.send(jsonb_build_object('user', new.user_id), 'joined', 'channel:' || new.channel_id, true);
  return null;
end
$$;
revoke all on function private.tell_both() from public;
create trigger tell_both after insert on public.channel_users for each row execute function private.tell_both();
create policy "members of the channel" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and exists (select 1 from public.channel_users u where u.user_id = (select auth.uid()) and u.channel_id = (select private.topic_channel())));
create policy "everybody hears of himself" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'user:' || (select auth.uid()));

-- expect: ACC010
-- Every member may delete the whole channel with its messages: the DELETE policy asks for membership where the UPDATE policy asks for the role.
create schema private;
create table public.channels (id bigint generated always as identity primary key, name text not null);
create table public.channel_members (
  channel_id bigint not null references public.channels (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  role text not null default 'member' check (role in ('moderator', 'member')),
  primary key (channel_id, user_id)
);
create index channel_members_user_id_idx on public.channel_members (user_id);
create table public.channel_messages (
  id bigint generated always as identity primary key,
  channel_id bigint not null references public.channels (id) on delete cascade,
  user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  body text not null
);
create index channel_messages_channel_id_idx on public.channel_messages (channel_id);
create index channel_messages_user_id_idx on public.channel_messages (user_id);
revoke insert, update, delete on public.channel_members from anon, authenticated;
revoke update, delete on public.channel_messages from anon, authenticated;
create function private.channel_role(channel bigint) returns text language sql stable security definer set search_path = '' as $$
  select m.role from public.channel_members m where m.channel_id = channel and m.user_id = (select auth.uid())
$$;
revoke all on function private.channel_role(bigint) from public, anon;
grant execute on function private.channel_role(bigint) to authenticated, service_role;
alter table public.channels enable row level security;
alter table public.channel_members enable row level security;
alter table public.channel_messages enable row level security;
create policy read on public.channels for select to authenticated using (private.channel_role(id) is not null);
create policy rename on public.channels for update to authenticated
  using (private.channel_role(id) = 'moderator') with check (private.channel_role(id) = 'moderator');
create policy remove on public.channels for delete to authenticated
  using (private.channel_role(id) is not null);
create policy read on public.channel_members for select to authenticated using (private.channel_role(channel_id) is not null);
create policy read on public.channel_messages for select to authenticated using (private.channel_role(channel_id) is not null);
create policy send on public.channel_messages for insert to authenticated
  with check (user_id = (select auth.uid()) and private.channel_role(channel_id) is not null);
alter table public.channel_messages replica identity full;
alter publication supabase_realtime add table public.channel_messages;

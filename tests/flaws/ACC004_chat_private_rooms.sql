-- expect: ACC004
-- Anybody may join a private room: the INSERT policy lost the condition that the room is public.
create table public.rooms (
  id bigint generated always as identity primary key,
  title text not null,
  is_private boolean not null default false
);
create table public.room_users (
  room_id bigint not null references public.rooms (id) on delete cascade,
  user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  nickname text not null default '',
  primary key (room_id, user_id)
);
create index room_users_user_id_idx on public.room_users (user_id);
create table public.room_messages (
  id bigint generated always as identity primary key,
  room_id bigint not null references public.rooms (id) on delete cascade,
  author_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  body text not null,
  created_at timestamptz not null default now()
);
create index room_messages_room_id_idx on public.room_messages (room_id);
create index room_messages_author_id_idx on public.room_messages (author_id);
revoke update, delete on public.room_messages from anon, authenticated;
revoke update on public.room_users from anon, authenticated;
create function public.in_room(room bigint) returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select 1 from public.room_users u where u.room_id = room and u.user_id = (select auth.uid()))
$$;
revoke all on function public.in_room(bigint) from public, anon;
grant execute on function public.in_room(bigint) to authenticated, service_role;
alter table public.rooms enable row level security;
alter table public.room_users enable row level security;
alter table public.room_messages enable row level security;
create policy rooms_select on public.rooms for select to authenticated using (not is_private or public.in_room(id));
create policy room_users_select on public.room_users for select to authenticated using (public.in_room(room_id));
create policy room_users_join on public.room_users for insert to authenticated
  with check (user_id = (select auth.uid()));
create policy room_users_leave on public.room_users for delete to authenticated using (user_id = (select auth.uid()));
create policy room_messages_select on public.room_messages for select to authenticated using (public.in_room(room_id));
create policy room_messages_insert on public.room_messages for insert to authenticated
  with check (author_id = (select auth.uid()) and public.in_room(room_id));
create policy "room listeners" on realtime.messages for select to authenticated
  using (extension in ('broadcast', 'presence') and exists (select 1 from public.room_users u
    where u.user_id = (select auth.uid()) and 'room:' || u.room_id = (select realtime.topic())));
create policy "room speakers" on realtime.messages for insert to authenticated
  with check (extension in ('broadcast', 'presence') and exists (select 1 from public.room_users u
    where u.user_id = (select auth.uid()) and 'room:' || u.room_id = (select realtime.topic())));
alter table public.room_messages replica identity full;
alter publication supabase_realtime add table public.room_messages;

-- expect: CHN002
-- Kind: broadcast.policy-raises: the cast of the topic's second part to uuid raises 22P02 on "lobby:main", so nobody can join the lobby.
create table public.rooms (id uuid primary key default gen_random_uuid(), name text not null);
create table public.room_members (
  user_id uuid not null references auth.users on delete cascade,
  room_id uuid not null references public.rooms on delete cascade,
  primary key (user_id, room_id)
);
create index on public.room_members (room_id);
create table public.room_messages (
  room_id uuid not null references public.rooms on delete cascade,
  id bigint generated always as identity,
  author_id uuid not null default auth.uid() references auth.users,
  body text not null,
  primary key (room_id, id)
);
create index on public.room_messages (author_id);
create schema private;
alter table public.rooms enable row level security;
alter table public.room_members enable row level security;
alter table public.room_messages enable row level security;
create policy "own" on public.room_members for select to authenticated
  using (user_id = (select auth.uid()));
create policy "mine" on public.rooms for select to authenticated
  using (id in (select m.room_id from public.room_members m where m.user_id = (select auth.uid())));
create policy "read" on public.room_messages for select to authenticated
  using (room_id in (select m.room_id from public.room_members m where m.user_id = (select auth.uid())));
create policy "write" on public.room_messages for insert to authenticated
  with check (author_id = (select auth.uid()) and room_id in (select m.room_id from public.room_members m where m.user_id = (select auth.uid())));
create function private.tell_message() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('room:' || new.room_id, tg_op, tg_op, tg_table_name, tg_table_schema, new, null);
  return null;
end
$$;
revoke all on function private.tell_message() from public;
create trigger tell_message after insert on public.room_messages for each row execute function private.tell_message();
create policy "room members listen" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and exists (select 1 from public.room_members m where m.user_id = (select auth.uid()) and m.room_id = split_part((select realtime.topic()), ':', 2)::uuid));
create policy "everybody meets in the lobby" on realtime.messages for select to authenticated
  using (extension in ('broadcast', 'presence') and (select realtime.topic()) = 'lobby:main');
create policy "everybody shows up in the lobby" on realtime.messages for insert to authenticated
  with check (extension in ('broadcast', 'presence') and (select realtime.topic()) = 'lobby:main');

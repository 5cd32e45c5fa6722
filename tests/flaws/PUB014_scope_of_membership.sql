-- expect: PUB014
-- Shape: rooms with members; messages are filtered by room.
create table public.room_members (room_id uuid not null, user_id uuid not null, primary key (room_id, user_id));
create index on public.room_members (user_id);
create table public.room_messages (
  id bigint generated always as identity primary key,
  room_id uuid not null,
  body text not null
);
create index on public.room_messages (room_id);
alter table public.room_members enable row level security;
alter table public.room_messages enable row level security;
create policy own on public.room_members for select to authenticated using (user_id = (select auth.uid()));
create policy members on public.room_messages for select to authenticated using (exists (
  select 1 from public.room_members m where m.room_id = room_messages.room_id and m.user_id = (select auth.uid())
));
alter publication supabase_realtime add table public.room_messages;

-- expect: CHN001
-- Shape: rooms; the policy asks for a topic of the right form, but not whose room it is.
create table public.rooms (id uuid primary key default gen_random_uuid(), name text not null);
create table public.room_users (
  room_id uuid not null references public.rooms,
  user_id uuid not null references auth.users,
  primary key (user_id, room_id)
);
alter table public.rooms enable row level security;
alter table public.room_users enable row level security;
create policy own on public.room_users for select to authenticated using (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.room_users;
create policy listen on realtime.messages for select to authenticated
  using (extension in ('broadcast', 'presence') and realtime.topic() like 'room:%');
create policy speak on realtime.messages for insert to authenticated
  with check (extension in ('broadcast', 'presence') and exists (
    select 1 from public.room_users u where u.user_id = (select auth.uid()) and realtime.topic() = 'room:' || u.room_id));

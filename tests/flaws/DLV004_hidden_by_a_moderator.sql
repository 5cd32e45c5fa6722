-- expect: DLV004
-- Shape: posts of a room that a moderator, who sees them all the same, hides from its members.
create table public.rooms (id uuid primary key default gen_random_uuid());
create table public.members (
  room_id uuid not null references public.rooms,
  user_id uuid not null references auth.users,
  role text not null default 'member' check (role in ('member', 'moderator')),
  primary key (user_id, room_id)
);
create table public.posts (
  room_id uuid not null references public.rooms,
  id uuid not null default gen_random_uuid(),
  hidden boolean not null default false,
  updated_at timestamptz not null default now(),
  primary key (room_id, id)
);
create function public.touch() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end $$;
create trigger touch before update on public.posts for each row execute function public.touch();
alter table public.rooms enable row level security;
alter table public.members enable row level security;
alter table public.posts enable row level security;
create policy own on public.members for select to authenticated using (user_id = (select auth.uid()));
create policy "members" on public.posts for select to authenticated using (not hidden and room_id in (
  select m.room_id from public.members m where m.user_id = (select auth.uid())));
create policy "moderators" on public.posts for select to authenticated using (room_id in (
  select m.room_id from public.members m where m.user_id = (select auth.uid()) and m.role = 'moderator'));
create policy "moderators hide" on public.posts for update to authenticated
  using (room_id in (
    select m.room_id from public.members m where m.user_id = (select auth.uid()) and m.role = 'moderator'))
  with check (room_id in (
    select m.room_id from public.members m where m.user_id = (select auth.uid()) and m.role = 'moderator'));
alter publication supabase_realtime add table public.posts;

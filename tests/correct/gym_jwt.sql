-- Shape: the sound twin of flaws/WAL004_gym_jwt.sql.
create table public.gyms (id uuid primary key default gen_random_uuid(), name text not null);
create table public.gym_members (
  id uuid primary key default gen_random_uuid(),
  gym_id uuid not null references public.gyms (id) on delete cascade,
  full_name text not null,
  unique (gym_id, id)
);
create table public.gym_classes (
  id uuid primary key default gen_random_uuid(),
  gym_id uuid not null references public.gyms (id) on delete cascade,
  title text not null,
  unique (gym_id, id)
);
create table public.checkins (
  id bigint generated always as identity primary key,
  gym_id uuid not null,
  member_id uuid not null,
  at timestamptz not null default now(),
  foreign key (gym_id, member_id) references public.gym_members (gym_id, id) on delete cascade
);
create index checkins_gym_id_idx on public.checkins (gym_id, member_id);
revoke update, delete on public.checkins from anon, authenticated;
create function public.jwt_gym() returns uuid language sql stable set search_path = '' as $$
  select nullif(auth.jwt() -> 'app_metadata' ->> 'gym_id', '')::uuid
$$;
alter table public.gyms enable row level security;
alter table public.gym_members enable row level security;
alter table public.gym_classes enable row level security;
alter table public.checkins enable row level security;
create policy gym_wall on public.gyms for select to authenticated using (id = (select public.jwt_gym()));
create policy gym_wall on public.gym_members for all to authenticated
  using (gym_id = (select public.jwt_gym())) with check (gym_id = (select public.jwt_gym()));
create policy gym_wall on public.gym_classes for all to authenticated
  using (gym_id = (select public.jwt_gym())) with check (gym_id = (select public.jwt_gym()));
create policy staff_read on public.checkins for select to authenticated
  using (gym_id = (select public.jwt_gym()) and (select auth.jwt() -> 'app_metadata' ->> 'role') = 'staff');
create policy staff_insert on public.checkins for insert to authenticated
  with check (gym_id = (select public.jwt_gym()) and (select auth.jwt() -> 'app_metadata' ->> 'role') = 'staff');
alter table public.checkins replica identity full;
alter publication supabase_realtime add table public.checkins;

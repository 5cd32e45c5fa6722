-- expect: DLV002
-- Shape: photos of a club; nobody may list its members, so the policy of the photos finds none.
create table public.clubs (id uuid primary key default gen_random_uuid(), name text not null);
create table public.club_members (
  club_id uuid not null references public.clubs,
  user_id uuid not null references auth.users,
  primary key (user_id, club_id)
);
create table public.photos (
  club_id uuid not null references public.clubs,
  id uuid not null default gen_random_uuid(),
  primary key (club_id, id)
);
alter table public.clubs enable row level security;
alter table public.club_members enable row level security;
alter table public.photos enable row level security;
create policy "names are public" on public.clubs for select using (true);
create policy "no lists of members" on public.club_members for select to authenticated using (false);
create policy "members" on public.photos for select to authenticated
  using (club_id in (select m.club_id from public.club_members m where m.user_id = (select auth.uid())));
alter publication supabase_realtime add table public.photos;

-- expect: ACC001
-- Shape: teams and files; the policy forgets to ask for the team, so whoever is a member anywhere sees everything.
create table public.teams (id uuid primary key default gen_random_uuid(), name text not null);
create table public.team_members (
  team_id uuid not null references public.teams,
  user_id uuid not null references auth.users,
  primary key (user_id, team_id)
);
create table public.files (
  team_id uuid not null references public.teams,
  id uuid not null default gen_random_uuid(),
  path text not null,
  primary key (team_id, id)
);
alter table public.teams enable row level security;
alter table public.team_members enable row level security;
alter table public.files enable row level security;
create policy own on public.team_members for select to authenticated using (user_id = (select auth.uid()));
create policy members on public.files for select to authenticated
  using (exists (select 1 from public.team_members m where m.user_id = (select auth.uid())));
alter publication supabase_realtime add table public.files;

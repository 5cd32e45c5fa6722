-- expect: LEK001
-- Shape: documents of teams; whatever is archived shows to everybody, and no row is seeded as archived.
create table public.teams (id uuid primary key default gen_random_uuid(), name text not null);
create table public.team_members (team_id uuid not null references public.teams, user_id uuid not null references auth.users, primary key (user_id, team_id));
create table public.docs (team_id uuid not null references public.teams, id bigint generated always as identity, title text not null,
  archived_at timestamptz, primary key (team_id, id));
alter table public.teams enable row level security; alter table public.team_members enable row level security; alter table public.docs enable row level security;
create policy own on public.team_members for select to authenticated using (user_id = (select auth.uid()));
create policy members on public.docs for select to authenticated using (
  team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())) or archived_at is not null and title is not null);
alter publication supabase_realtime add table public.docs;

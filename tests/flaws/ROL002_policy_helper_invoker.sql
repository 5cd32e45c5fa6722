-- expect: ROL002
-- Nobody may read any project: the policy's helper runs with row_security = off and the caller's rights, so it raises 42501 on team_members for everybody signed in.
create table public.teams (id uuid primary key default gen_random_uuid(), name text not null);
create table public.team_members (
  team_id uuid not null references public.teams (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  primary key (user_id, team_id)
);
create index team_members_team_id_idx on public.team_members (team_id);
create table public.projects (
  id uuid primary key default gen_random_uuid(),
  team_id uuid not null references public.teams (id) on delete cascade,
  name text not null,
  updated_at timestamptz not null default now()
);
create index projects_team_id_idx on public.projects (team_id);
-- row_security = off against recursion of the policy on team_members
create function public.my_team_ids() returns setof uuid language sql stable set search_path = '' set row_security = off as $$
  select m.team_id from public.team_members m where m.user_id = (select auth.uid())
$$;
revoke all on function public.my_team_ids() from public, anon;
grant execute on function public.my_team_ids() to authenticated, service_role;
create function public.handle_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger on_change before insert or update on public.projects
  for each row execute function public.handle_updated_at();
alter table public.teams enable row level security;
alter table public.team_members enable row level security;
alter table public.projects enable row level security;
create policy see_own on public.team_members for select to authenticated using (user_id = (select auth.uid()));
create policy see_teams on public.teams for select to authenticated
  using (id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));
create policy team_projects on public.projects for all to authenticated
  using (team_id in (select public.my_team_ids())) with check (team_id in (select public.my_team_ids()));
alter table public.projects replica identity full;
alter publication supabase_realtime add table public.projects;

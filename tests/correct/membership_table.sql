-- Shape: projects of teams; who belongs to a team says a membership table, asked by a SECURITY DEFINER function.
create schema private;
grant usage on schema private to authenticated;

create table public.teams (
  id uuid primary key default gen_random_uuid(),
  name text not null check (length(name) between 1 and 80),
  created_at timestamptz not null default now()
);
create table public.team_members (
  team_id uuid not null references public.teams on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  role text not null default 'member' check (role in ('owner', 'member')),
  joined_at timestamptz not null default now(),
  primary key (team_id, user_id)
);
create index on public.team_members (user_id);
create table public.projects (
  id uuid primary key default gen_random_uuid(),
  team_id uuid not null references public.teams on delete cascade,
  title text not null,
  budget numeric(12, 2),
  state text not null default 'open' check (state in ('open', 'closed')),
  updated_at timestamptz not null default now()
);
create unique index projects_identity on public.projects (team_id, id);
alter table public.projects replica identity using index projects_identity;

create function private.my_teams() returns setof uuid language sql stable security definer set search_path = '' as $$
  select team_id from public.team_members where user_id = (select auth.uid())
$$;
revoke all on function private.my_teams() from public;
grant execute on function private.my_teams() to authenticated;

create function public.touch_project() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end $$;
create trigger touch before insert or update on public.projects for each row execute function public.touch_project();

revoke all on public.teams, public.team_members, public.projects from anon;
alter table public.teams enable row level security;
alter table public.team_members enable row level security;
alter table public.projects enable row level security;
create policy "members see their teams" on public.teams for select to authenticated
  using (id in (select private.my_teams()));
create policy "members see each other" on public.team_members for select to authenticated
  using (team_id in (select private.my_teams()));
create policy "members see projects" on public.projects for select to authenticated
  using (team_id in (select private.my_teams()));
create policy "members add projects" on public.projects for insert to authenticated
  with check (team_id in (select private.my_teams()));
create policy "members change projects" on public.projects for update to authenticated
  using (team_id in (select private.my_teams())) with check (team_id in (select private.my_teams()));
create policy "members drop projects" on public.projects for delete to authenticated
  using (team_id in (select private.my_teams()));

alter publication supabase_realtime add table public.projects, public.team_members;

-- expect: RLS010
-- Shape: projects and their members. Reading goes through a function, and whoever is signed in makes anybody a member.
create table public.projects (
  id uuid primary key default gen_random_uuid(),
  name text not null
);
create table public.project_members (
  project_id uuid not null references public.projects,
  member_id uuid not null references auth.users,
  primary key (project_id, member_id)
);
create index on public.project_members (member_id);
create schema private;
create function private.my_projects() returns setof uuid language sql stable security definer set search_path = '' as $$
  select project_id from public.project_members where member_id = auth.uid()
$$;
grant usage on schema private to authenticated;
revoke execute on function private.my_projects() from public;
grant execute on function private.my_projects() to authenticated;
revoke update on public.projects from anon, authenticated;
alter table public.projects enable row level security;
alter table public.project_members enable row level security;
create policy of_members on public.projects for select to authenticated using (id in (select private.my_projects()));
create policy colleagues on public.project_members for select to authenticated using (project_id in (select private.my_projects()));
create policy joinable on public.project_members for insert to authenticated with check (true);
alter publication supabase_realtime add table public.projects;

-- expect: WAL004
-- Every signed-in user reads the attachments of every workspace: projects and tasks are walled, their grandchild has USING (true).
create schema private;
create table public.workspaces (id uuid primary key default gen_random_uuid(), name text not null);
create table public.workspace_members (
  workspace_id uuid not null references public.workspaces (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  primary key (user_id, workspace_id)
);
create index workspace_members_workspace_id_idx on public.workspace_members (workspace_id);
create table public.projects (
  id uuid primary key default gen_random_uuid(),
  workspace_id uuid not null references public.workspaces (id) on delete cascade,
  name text not null
);
create index projects_workspace_id_idx on public.projects (workspace_id);
create table public.tasks (
  id uuid primary key default gen_random_uuid(),
  project_id uuid not null references public.projects (id) on delete cascade,
  title text not null,
  updated_at timestamptz not null default now()
);
create index tasks_project_id_idx on public.tasks (project_id);
create table public.task_attachments (
  id uuid primary key default gen_random_uuid(),
  task_id uuid not null references public.tasks (id) on delete cascade,
  path text not null
);
create index task_attachments_task_id_idx on public.task_attachments (task_id);
create function private.projects_of_caller() returns setof uuid language sql stable security definer set search_path = '' as $$
  select p.id from public.projects p join public.workspace_members m on m.workspace_id = p.workspace_id where m.user_id = (select auth.uid())
$$;
create function private.tasks_of_caller() returns setof uuid language sql stable security definer set search_path = '' as $$
  select t.id from public.tasks t where t.project_id in (select private.projects_of_caller())
$$;
revoke all on function private.projects_of_caller() from public, anon;
grant execute on function private.projects_of_caller() to authenticated, service_role;
revoke all on function private.tasks_of_caller() from public, anon;
grant execute on function private.tasks_of_caller() to authenticated, service_role;
create function public.handle_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger on_change before insert or update on public.tasks
  for each row execute function public.handle_updated_at();
alter table public.workspaces enable row level security;
alter table public.workspace_members enable row level security;
alter table public.projects enable row level security;
alter table public.tasks enable row level security;
alter table public.task_attachments enable row level security;
create policy own on public.workspace_members for select to authenticated using (user_id = (select auth.uid()));
create policy own on public.workspaces for select to authenticated
  using (id in (select m.workspace_id from public.workspace_members m where m.user_id = (select auth.uid())));
create policy members on public.projects for select to authenticated using (id in (select private.projects_of_caller()));
create policy members on public.tasks for all to authenticated
  using (project_id in (select private.projects_of_caller())) with check (project_id in (select private.projects_of_caller()));
create policy "Enable read access for authenticated users" on public.task_attachments for select to authenticated using (true);
create policy "members attach" on public.task_attachments for insert to authenticated with check (task_id in (select private.tasks_of_caller()));
create policy "members detach" on public.task_attachments for delete to authenticated using (task_id in (select private.tasks_of_caller()));
alter table public.tasks replica identity full;
alter publication supabase_realtime add table public.tasks;

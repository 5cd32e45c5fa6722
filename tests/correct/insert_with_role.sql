-- Sound twin of the flaw of this name.
create type public.workspace_role as enum ('guest', 'editor', 'admin');
create table public.workspaces (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  open_to_all boolean not null default false
);
create table public.workspace_users (
  workspace_id uuid not null references public.workspaces (id) on delete cascade,
  user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  role public.workspace_role not null default 'guest',
  primary key (user_id, workspace_id)
);
create index workspace_users_workspace_id_idx on public.workspace_users (workspace_id);
revoke update on public.workspace_users from anon, authenticated;
create function public.open_workspaces() returns setof uuid language sql stable security definer set search_path = '' as $$
  select w.id from public.workspaces w where w.open_to_all
$$;
revoke all on function public.open_workspaces() from public, anon;
grant execute on function public.open_workspaces() to authenticated, service_role;
alter table public.workspaces enable row level security;
alter table public.workspace_users enable row level security;
create policy own on public.workspace_users for select to authenticated using (user_id = (select auth.uid()));
create policy joinable on public.workspaces for select to authenticated
  using (open_to_all or id in (select u.workspace_id from public.workspace_users u where u.user_id = (select auth.uid())));
create policy rename on public.workspaces for update to authenticated
  using (id in (select u.workspace_id from public.workspace_users u where u.user_id = (select auth.uid()) and u.role = 'admin'))
  with check (id in (select u.workspace_id from public.workspace_users u where u.user_id = (select auth.uid()) and u.role = 'admin'));
create policy join_open_ones on public.workspace_users for insert to authenticated
  with check (user_id = (select auth.uid())
    and role = 'guest'
    and workspace_id in (select public.open_workspaces()));
create policy leave on public.workspace_users for delete to authenticated using (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.workspace_users;

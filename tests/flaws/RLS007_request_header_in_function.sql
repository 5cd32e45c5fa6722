-- expect: RLS007
-- Shape: a workspace chosen by a request header, read in a function that the policy calls.
create table public.tasks (
  workspace text not null,
  id uuid not null default gen_random_uuid(),
  title text not null,
  primary key (workspace, id)
);
create function public.current_workspace() returns text language sql stable set search_path = '' as $$
  select nullif(current_setting('request.headers', true), '')::json ->> 'x-workspace'
$$;
alter table public.tasks enable row level security;
create policy workspace on public.tasks for select to authenticated using (workspace = (select public.current_workspace()));
alter publication supabase_realtime add table public.tasks;

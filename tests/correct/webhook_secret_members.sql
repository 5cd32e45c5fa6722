-- Shape: the sound twin of flaws/COL002_webhook_secret_members.sql.
create table public.projects (id uuid primary key default gen_random_uuid(), owner_id uuid not null default auth.uid() references auth.users (id) on delete cascade, title text not null, updated_at timestamptz not null default now());
create function public.touch() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger touch before insert or update on public.projects
  for each row execute function public.touch();
create index projects_owner_id_idx on public.projects (owner_id);
create table public.webhook_endpoints (
  id uuid primary key default gen_random_uuid(),
  project_id uuid not null references public.projects (id) on delete cascade,
  url text not null check (url like 'https://%'),
  signing_secret text not null default 'whsec_' || replace(gen_random_uuid()::text, '-', ''),
  enabled boolean not null default true,
  updated_at timestamptz not null default now()
);
create index webhook_endpoints_project_id_idx on public.webhook_endpoints (project_id);
-- the secret is shown once, by the edge function that makes it
revoke all on public.webhook_endpoints from anon, authenticated;
grant select (id, project_id, url, enabled, updated_at), insert (project_id, url, enabled), update (url, enabled), delete
  on public.webhook_endpoints to authenticated;
create trigger touch before insert or update on public.webhook_endpoints
  for each row execute function public.touch();
alter table public.projects enable row level security;
alter table public.webhook_endpoints enable row level security;
create policy own on public.projects for all to authenticated using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy read on public.webhook_endpoints for select to authenticated
  using (project_id in (select p.id from public.projects p where p.owner_id = (select auth.uid())));
create policy add on public.webhook_endpoints for insert to authenticated
  with check (project_id in (select p.id from public.projects p where p.owner_id = (select auth.uid())));
create policy edit on public.webhook_endpoints for update to authenticated
  using (project_id in (select p.id from public.projects p where p.owner_id = (select auth.uid())))
  with check (project_id in (select p.id from public.projects p where p.owner_id = (select auth.uid())));
create policy remove on public.webhook_endpoints for delete to authenticated
  using (project_id in (select p.id from public.projects p where p.owner_id = (select auth.uid())));
alter table public.projects replica identity full;
alter publication supabase_realtime add table public.projects;

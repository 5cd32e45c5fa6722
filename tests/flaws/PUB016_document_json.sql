-- expect: PUB016
-- Shape: a collaborative editor with the whole document in one JSON column.
create table public.pages (
  workspace_id uuid not null,
  id uuid not null default gen_random_uuid(),
  document jsonb not null default '{}',
  primary key (workspace_id, id)
);
alter table public.pages enable row level security;
create policy workspace on public.pages for select to authenticated
  using (workspace_id = (select (auth.jwt() -> 'app_metadata' ->> 'workspace_id')::uuid));
alter publication supabase_realtime add table public.pages;

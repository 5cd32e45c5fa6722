-- expect: PUB016
-- Shape: uploads kept in the row.
create table public.uploads (
  owner_id uuid not null,
  id uuid not null default gen_random_uuid(),
  name text not null,
  content bytea,
  primary key (owner_id, id)
);
alter table public.uploads enable row level security;
create policy own on public.uploads for select to authenticated using (owner_id = (select auth.uid()));
alter publication supabase_realtime add table public.uploads;

-- expect: PUB017
-- Shape: visits, whose identity somebody set to nothing; the warehouse has all tables of the schema.
create schema visits;
create table visits.visits (id uuid primary key default gen_random_uuid(), left_at timestamptz);
alter table visits.visits replica identity nothing;
alter table visits.visits enable row level security;
create publication warehouse for tables in schema visits with (publish = 'update');
create table public.people (id uuid primary key references auth.users, name text not null);
alter table public.people enable row level security;
create policy own on public.people for select to authenticated using (id = (select auth.uid()));
alter publication supabase_realtime add table public.people;

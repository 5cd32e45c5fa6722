-- expect: PUB006
-- Shape: employees; the salary is left out of the publication's column list.
create table public.employees (
  company_id uuid not null,
  id uuid not null default gen_random_uuid(),
  full_name text not null,
  salary numeric(10, 2),
  primary key (company_id, id)
);
alter table public.employees enable row level security;
create policy colleagues on public.employees for select to authenticated
  using (company_id = (select (auth.jwt() -> 'app_metadata' ->> 'company_id')::uuid));
alter publication supabase_realtime add table public.employees (company_id, id, full_name);

-- expect: RLS010
-- Shape: salaries; "or true" was left in after a test.
create table public.salaries (
  employee_id uuid not null,
  year integer not null,
  cents bigint not null,
  primary key (employee_id, year)
);
alter table public.salaries enable row level security;
create policy own on public.salaries for select to authenticated using (employee_id = (select auth.uid()) or true);
alter publication supabase_realtime add table public.salaries;

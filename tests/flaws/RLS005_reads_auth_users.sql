-- expect: RLS005
-- Shape: staff pages; the policy asks auth.users, which authenticated cannot read.
create table public.staff_pages (
  id uuid primary key default gen_random_uuid(),
  text text not null
);
alter table public.staff_pages enable row level security;
create policy staff on public.staff_pages for select to authenticated
  using (exists (select 1 from auth.users u where u.id = (select auth.uid()) and u.email like '%@example.com'));
alter publication supabase_realtime add table public.staff_pages;

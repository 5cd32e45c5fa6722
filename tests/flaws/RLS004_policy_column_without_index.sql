-- expect: RLS004
-- Shape: expenses; the policy's column is in the identity (full) but in no index.
create table public.expenses (
  id uuid primary key default gen_random_uuid(),
  spender_id uuid not null,
  cents integer not null
);
alter table public.expenses replica identity full;
alter table public.expenses enable row level security;
create policy own on public.expenses for select to authenticated using (spender_id = (select auth.uid()));
alter publication supabase_realtime add table public.expenses;

-- expect: ACC003
-- Shape: loans; the policy divides by a column that is zero for a new row.
create table public.loans (
  borrower_id uuid not null,
  id uuid not null default gen_random_uuid(),
  months integer not null default 0,
  cents integer not null default 100,
  primary key (borrower_id, id)
);
alter table public.loans enable row level security;
create policy own on public.loans for select to authenticated
  using (borrower_id = (select auth.uid()) and cents / months < 100000);
alter publication supabase_realtime add table public.loans;

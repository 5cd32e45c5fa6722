-- expect: RLS013
-- Shape: invoices of a freelancer; "= null" where "is null" was meant.
create table public.invoices (
  owner_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  voided_at timestamptz,
  primary key (owner_id, id)
);
alter table public.invoices enable row level security;
create policy own on public.invoices for select to authenticated
  using (owner_id = (select auth.uid()) and voided_at = null);
alter publication supabase_realtime add table public.invoices;

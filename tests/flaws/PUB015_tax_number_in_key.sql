-- expect: PUB015
-- Shape: clients of an accountant, keyed by their tax number.
create table public.clients (
  accountant_id uuid not null,
  tax_number bigint not null,
  name text not null,
  primary key (accountant_id, tax_number)
);
alter table public.clients enable row level security;
create policy own on public.clients for select to authenticated using (accountant_id = (select auth.uid()));
alter publication supabase_realtime add table public.clients;

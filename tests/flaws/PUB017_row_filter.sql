-- expect: PUB017
-- Shape: transfers; the publication for the accountants has only those that are booked.
create table public.transfers (
  owner_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  booked boolean not null default false,
  primary key (owner_id, id)
);
alter table public.transfers enable row level security;
create policy own on public.transfers for select to authenticated using (owner_id = (select auth.uid()));
create publication accountants for table public.transfers where (booked);
alter publication supabase_realtime add table public.transfers;

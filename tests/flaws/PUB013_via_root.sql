-- expect: PUB013
-- Shape: transfers by year, published via the root.
create table public.transfers (
  account_id uuid not null,
  on_day date not null,
  id uuid not null default gen_random_uuid(),
  cents bigint not null,
  primary key (account_id, on_day, id)
) partition by range (on_day);
create table public.transfers_2026 partition of public.transfers for values from ('2026-01-01') to ('2027-01-01');
alter table public.transfers enable row level security;
alter table public.transfers_2026 enable row level security;
create policy own on public.transfers for select to authenticated using (account_id = (select auth.uid()));
create policy own on public.transfers_2026 for select to authenticated using (account_id = (select auth.uid()));
alter publication supabase_realtime set (publish_via_partition_root = true);
alter publication supabase_realtime add table public.transfers;

-- expect: RLS008
-- Shape: orders with a summary view that reads with its owner's rights.
create table public.sales (
  seller_id uuid not null,
  id uuid not null default gen_random_uuid(),
  cents integer not null,
  primary key (seller_id, id)
);
alter table public.sales enable row level security;
create policy own on public.sales for select to authenticated using (seller_id = (select auth.uid()));
create view public.sales_totals as select seller_id, sum(cents) as cents from public.sales group by seller_id;
alter publication supabase_realtime add table public.sales;

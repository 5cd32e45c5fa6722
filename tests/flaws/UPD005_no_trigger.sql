-- expect: UPD005
-- Shape: stock levels; updated_at has a default and nothing else.
create table public.stock_levels (
  shop_id uuid not null,
  product_id uuid not null,
  amount integer not null default 0,
  updated_at timestamptz not null default now(),
  primary key (shop_id, product_id)
);
alter table public.stock_levels enable row level security;
create policy shop on public.stock_levels for select to authenticated
  using (shop_id = (select (auth.jwt() -> 'app_metadata' ->> 'shop_id')::uuid));
alter publication supabase_realtime add table public.stock_levels;

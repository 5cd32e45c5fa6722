-- expect: RLS001
-- Shape: a shop; products are fine, the table of discount codes beside them is open over REST.
create table public.products (id uuid primary key default gen_random_uuid(), name text not null);
alter table public.products enable row level security;
create policy read on public.products for select to anon, authenticated using (true);
create table public.discount_codes (code text primary key, percent integer not null);
alter publication supabase_realtime add table public.products;

-- expect: WAL003
-- An editor of one shop may insert products into another shop: the tenant wall is restrictive FOR SELECT only, and the editors' policies rely on it.
create table public.shops (id uuid primary key default gen_random_uuid(), name text not null);
create table public.products (
  id uuid primary key default gen_random_uuid(),
  shop_id uuid not null references public.shops (id) on delete cascade,
  title text not null,
  price_cents integer not null check (price_cents >= 0),
  updated_at timestamptz not null default now()
);
create index products_shop_id_idx on public.products (shop_id);
create function public.set_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger set_updated_at before insert or update on public.products
  for each row execute function public.set_updated_at();
alter table public.shops enable row level security;
alter table public.products enable row level security;
create policy own_shop on public.shops for select to authenticated
  using (id = (select (auth.jwt() -> 'app_metadata' ->> 'shop_id')::uuid));
create policy staff_reads on public.products for select to authenticated using (true);
create policy editors_write on public.products for all to authenticated
  using ((select auth.jwt() -> 'app_metadata' ->> 'shop_role') = 'editor')
  with check ((select auth.jwt() -> 'app_metadata' ->> 'shop_role') = 'editor');
create policy shop_wall on public.products as restrictive for select to authenticated
  using (shop_id = (select (auth.jwt() -> 'app_metadata' ->> 'shop_id')::uuid));
alter table public.products replica identity full;
alter publication supabase_realtime add table public.products;

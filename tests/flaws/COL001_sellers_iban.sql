-- expect: COL001
-- Every visitor of the marketplace reads the sellers' IBAN and tax number: SELECT on the whole row is granted beside the public policy.
create table public.sellers (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null unique default auth.uid() references auth.users (id) on delete cascade,
  shop_name text not null,
  rating numeric(2, 1) not null default 0,
  iban text,
  tax_number text,
  updated_at timestamptz not null default now()
);
revoke all on public.sellers from anon, authenticated;
grant select on public.sellers to anon, authenticated;
grant update (shop_name, iban, tax_number) on public.sellers to authenticated;
create function public.keep_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger trg_updated_at before insert or update on public.sellers
  for each row execute function public.keep_updated_at();
alter table public.sellers enable row level security;
create policy shop_window on public.sellers for select to anon, authenticated using (true);
create policy edit_own on public.sellers for update to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create table public.listings (
  id uuid primary key default gen_random_uuid(),
  seller_id uuid not null references public.sellers (id) on delete cascade,
  title text not null,
  updated_at timestamptz not null default now()
);
create index listings_seller_id_idx on public.listings (seller_id);
create trigger trg_updated_at before insert or update on public.listings
  for each row execute function public.keep_updated_at();
alter table public.listings enable row level security;
create policy shop_window on public.listings for select to anon, authenticated using (true);
create policy own on public.listings for insert to authenticated
  with check (seller_id in (select s.id from public.sellers s where s.user_id = (select auth.uid())));
create policy own_update on public.listings for update to authenticated
  using (seller_id in (select s.id from public.sellers s where s.user_id = (select auth.uid())))
  with check (seller_id in (select s.id from public.sellers s where s.user_id = (select auth.uid())));
alter table public.listings replica identity full;
alter publication supabase_realtime add table public.listings;

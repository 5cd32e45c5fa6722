-- expect: FUN003
-- Order_by is pasted into the statement of a SECURITY DEFINER function: a caller reads drafts and reserve prices of other sellers.
create table public.sellers (
  id uuid primary key references auth.users on delete cascade,
  shop_name text not null
);
create table public.listings (
  seller_id uuid not null references public.sellers on delete cascade,
  id uuid not null default gen_random_uuid(),
  title text not null,
  price_cents integer not null check (price_cents > 0),
  state text not null default 'draft' check (state in ('draft', 'live', 'sold')),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (seller_id, id)
);
create table public.reserve_prices (
  seller_id uuid not null,
  listing_id uuid not null,
  reserve_cents integer not null,
  primary key (seller_id, listing_id),
  foreign key (seller_id, listing_id) references public.listings on delete cascade
);
create function public.set_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger listings_set_updated_at before insert or update on public.listings
  for each row execute function public.set_updated_at();
alter table public.sellers enable row level security;
alter table public.listings enable row level security;
alter table public.reserve_prices enable row level security;
create policy "shops are public" on public.sellers for select using (true);
create policy "live listings are public" on public.listings for select using (state = 'live');
create policy "sellers keep their listings (read)" on public.listings for select to authenticated using (seller_id = (select auth.uid()));
create policy "sellers keep their listings (add)" on public.listings for insert to authenticated with check (seller_id = (select auth.uid()));
create policy "sellers keep their listings (change)" on public.listings for update to authenticated using (seller_id = (select auth.uid())) with check (seller_id = (select auth.uid()));
create policy "sellers keep their listings (remove)" on public.listings for delete to authenticated using (seller_id = (select auth.uid()));
create policy "sellers keep their reserve (read)" on public.reserve_prices for select to authenticated using (seller_id = (select auth.uid()));
create policy "sellers keep their reserve (add)" on public.reserve_prices for insert to authenticated with check (seller_id = (select auth.uid()));
create policy "sellers keep their reserve (change)" on public.reserve_prices for update to authenticated using (seller_id = (select auth.uid())) with check (seller_id = (select auth.uid()));
create policy "sellers keep their reserve (remove)" on public.reserve_prices for delete to authenticated using (seller_id = (select auth.uid()));
create function public.search_listings(words text, order_by text default 'updated_at desc')
returns table (seller_id uuid, id uuid, title text, price_cents integer)
language plpgsql stable security definer set search_path = '' as $$
begin
  return query execute
    'select l.seller_id, l.id, l.title, l.price_cents from public.listings l where l.state = ''live'' and l.title ilike '
    || quote_literal('%' || words || '%') || ' order by ' || order_by || ' limit 100';
end
$$;
alter publication supabase_realtime add table public.listings;

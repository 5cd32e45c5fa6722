-- expect: BRC003
-- Kind: broadcast.hidden-columns: purchase price and supplier are not granted to clients, but broadcast_changes sends the whole row.
create table public.stores (id uuid primary key default gen_random_uuid(), name text not null);
create table public.store_staff (user_id uuid not null references auth.users on delete cascade, store_id uuid not null references public.stores on delete cascade, primary key (user_id, store_id));
create index on public.store_staff (store_id);
create table public.products (
  store_id uuid not null references public.stores on delete cascade,
  id uuid not null default gen_random_uuid(),
  name text not null,
  price_cents integer not null,
  cost_cents integer not null default 0,
  supplier text,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (store_id, id)
);
create schema private;
create function public.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger products_touch_updated_at before insert or update on public.products
  for each row execute function public.touch_updated_at();
alter table public.stores enable row level security;
alter table public.store_staff enable row level security;
alter table public.products enable row level security;
revoke all on public.products from anon, authenticated;
grant select (store_id, id, name, price_cents, updated_at) on public.products to authenticated;
create policy "own" on public.store_staff for select to authenticated
  using (user_id = (select auth.uid()));
create policy "own" on public.stores for select to authenticated
  using (id in (select s.store_id from public.store_staff s where s.user_id = (select auth.uid())));
create policy "products of my store" on public.products for select to authenticated
  using (store_id in (select s.store_id from public.store_staff s where s.user_id = (select auth.uid())));
create function private.tell_product() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('store:' || new.store_id, tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function private.tell_product() from public;
create trigger tell_product after insert or update on public.products for each row execute function private.tell_product();
create policy "staff of the store" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) in (select 'store:' || s.store_id from public.store_staff s where s.user_id = (select auth.uid())));

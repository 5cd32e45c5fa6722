-- expect: BRC001
-- Kind: broadcast.global-topic: all merchants' orders go to the one topic "orders", which everybody signed in may join.
create table public.merchants (id uuid primary key default gen_random_uuid(), owner_id uuid not null references auth.users on delete cascade, name text not null);
create index on public.merchants (owner_id);
create table public.orders (
  merchant_id uuid not null references public.merchants on delete cascade,
  id bigint generated always as identity,
  customer text not null,
  total numeric(12, 2) not null default 0,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (merchant_id, id)
);
create schema private;
grant usage on schema private to authenticated, service_role;
create function private.my_merchants() returns setof uuid language sql stable security definer set search_path = '' as $$
  select m.id from public.merchants m where m.owner_id = (select auth.uid())
$$;
revoke all on function private.my_merchants() from public, anon;
grant execute on function private.my_merchants() to authenticated;
create function public.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger orders_touch_updated_at before insert or update on public.orders
  for each row execute function public.touch_updated_at();
alter table public.merchants enable row level security;
alter table public.orders enable row level security;
create policy "own merchants" on public.merchants for select to authenticated
  using (owner_id = (select auth.uid()));
create policy "orders of own merchants (read)" on public.orders for select to authenticated using (merchant_id in (select private.my_merchants()));
create policy "orders of own merchants (add)" on public.orders for insert to authenticated with check (merchant_id in (select private.my_merchants()));
create policy "orders of own merchants (change)" on public.orders for update to authenticated using (merchant_id in (select private.my_merchants())) with check (merchant_id in (select private.my_merchants()));
create policy "orders of own merchants (remove)" on public.orders for delete to authenticated using (merchant_id in (select private.my_merchants()));
create function private.order_changed() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('orders', tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function private.order_changed() from public, anon, authenticated;
create trigger orders_broadcast after insert or update or delete on public.orders
  for each row execute function private.order_changed();
create policy "dashboards listen" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'orders');

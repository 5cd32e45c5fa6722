-- Sound twin of the flaw of this name.
create table public.orders (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  shipping_address text not null,
  total_cents integer not null default 0,
  paid_at timestamptz,
  stripe_payment_intent text,
  updated_at timestamptz not null default now()
);
create index orders_user_id_idx on public.orders (user_id);
revoke all on public.orders from anon, authenticated;
grant select on public.orders to authenticated;
grant insert (id, user_id, shipping_address), update (shipping_address) on public.orders to authenticated;
create function public.touch() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger touch before insert or update on public.orders
  for each row execute function public.touch();
alter table public.orders enable row level security;
create policy "own orders" on public.orders for select to authenticated using (user_id = (select auth.uid()));
create policy "place orders" on public.orders for insert to authenticated with check (user_id = (select auth.uid()));
create policy "correct address" on public.orders for update to authenticated
  using (user_id = (select auth.uid()) and paid_at is null)
  with check (user_id = (select auth.uid()) and paid_at is null);
alter table public.orders replica identity full;
alter publication supabase_realtime add table public.orders;

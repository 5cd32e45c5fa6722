-- expect: RLS007
-- Shape: a trading floor; the channel's policy asks for a setting that only the application's own API sets.
create table public.orders (trader_id uuid not null, id uuid not null default gen_random_uuid(), primary key (trader_id, id));
alter table public.orders enable row level security;
create policy own on public.orders for select to authenticated using (trader_id = (select auth.uid()));
alter publication supabase_realtime add table public.orders;
create policy "desk listens" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and realtime.topic() = 'desk:' || current_setting('app.desk', true));
create policy "desk speaks" on realtime.messages for insert to authenticated
  with check (extension = 'broadcast' and realtime.topic() = 'desk:' || (select auth.uid()));

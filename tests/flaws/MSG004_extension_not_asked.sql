-- expect: MSG004
-- Shape: delivery tracking by private topic.
create table public.deliveries (customer_id uuid not null, id uuid not null default gen_random_uuid(), primary key (customer_id, id));
alter table public.deliveries enable row level security;
create policy own on public.deliveries for select to authenticated using (customer_id = (select auth.uid()));
alter publication supabase_realtime add table public.deliveries;
create policy "own deliveries" on realtime.messages for select to authenticated
  using (realtime.topic() in (select 'delivery:' || d.id from public.deliveries d where d.customer_id = (select auth.uid())));
create policy "own deliveries, sending" on realtime.messages for insert to authenticated
  with check (extension in ('broadcast', 'presence')
    and realtime.topic() in (select 'delivery:' || d.id from public.deliveries d where d.customer_id = (select auth.uid())));

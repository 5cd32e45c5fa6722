-- expect: DLV005
-- Shape: parcels of a warehouse; who belongs to none has an empty text for a number.
create table public.parcels (warehouse integer not null, id bigint generated always as identity, primary key (warehouse, id));
alter table public.parcels enable row level security;
create policy "of my warehouse" on public.parcels for select to authenticated
  using (warehouse = (select coalesce(auth.jwt() -> 'app_metadata' ->> 'warehouse', '')::integer));
alter publication supabase_realtime add table public.parcels;

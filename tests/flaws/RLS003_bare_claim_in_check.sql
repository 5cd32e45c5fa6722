-- expect: RLS003
-- Shape: bookings by tenant claim; wrapped for reading, bare in WITH CHECK.
create table public.bookings (
  hotel_id uuid not null,
  id uuid not null default gen_random_uuid(),
  guest text not null,
  primary key (hotel_id, id)
);
alter table public.bookings enable row level security;
create policy read on public.bookings for select to authenticated
  using (hotel_id = (select (auth.jwt() -> 'app_metadata' ->> 'hotel_id')::uuid));
create policy add on public.bookings for insert to authenticated
  with check (hotel_id = (auth.jwt() -> 'app_metadata' ->> 'hotel_id')::uuid);
alter publication supabase_realtime add table public.bookings;

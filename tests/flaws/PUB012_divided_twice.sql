-- expect: PUB012
-- Shape: bookings by year, and within a year by kind; the root is published.
create table public.bookings (
  hotel_id uuid not null,
  on_day date not null,
  kind integer not null,
  id uuid not null default gen_random_uuid(),
  primary key (hotel_id, on_day, kind, id)
) partition by range (on_day);
create table public.bookings_2026 partition of public.bookings for values from ('2026-01-01') to ('2027-01-01')
  partition by list (kind);
create table public.bookings_2026_rooms partition of public.bookings_2026 for values in (1, 2);
create table public.bookings_2026_rest partition of public.bookings_2026 default;
do $$
declare part regclass;
begin
  for part in select relid from pg_partition_tree('public.bookings') loop
    execute format('alter table %s enable row level security', part);
    execute format('create policy own on %s for select to authenticated using (hotel_id = (select auth.uid()))', part);
  end loop;
end $$;
alter publication supabase_realtime add table public.bookings;

-- expect: DLV003
-- Shape: seats of a plane; the policy asks a view, and the view, as the caller, a table that was revoked from him.
create table public.bookings (
  passenger_id uuid not null references auth.users, flight_id uuid not null, primary key (passenger_id, flight_id)
);
create view public.my_flights with (security_invoker = true) as
  select b.flight_id from public.bookings b where b.passenger_id = (select auth.uid());
create table public.seats (flight_id uuid not null, id uuid not null default gen_random_uuid(), primary key (flight_id, id));
alter table public.bookings enable row level security;
alter table public.seats enable row level security;
create policy own on public.bookings for select to authenticated using (passenger_id = (select auth.uid()));
create policy passengers on public.seats for select to authenticated
  using (flight_id in (select f.flight_id from public.my_flights f));
revoke all on public.bookings from anon, authenticated;
revoke all on public.my_flights from anon;
alter publication supabase_realtime add table public.seats;

-- expect: PUB004
-- Shape: rides and drivers. The replica identity was prepared, the table itself forgotten in the publication.
create table public.drivers (
  user_id uuid primary key,
  car text not null
);
create table public.rides (
  id uuid primary key default gen_random_uuid(),
  passenger_id uuid not null,
  status text not null default 'called'
);
create index on public.rides (passenger_id);
alter table public.rides replica identity full;
alter table public.drivers enable row level security;
alter table public.rides enable row level security;
create policy own on public.drivers for select to authenticated using (user_id = (select auth.uid()));
create policy own on public.rides for select to authenticated using (passenger_id = (select auth.uid()));
alter publication supabase_realtime add table public.drivers;

-- expect: ACC005
-- A guest sets the price of his own reservation: price_cents comes with the INSERT instead of from the room's rate.
create table public.rooms (
  id integer generated always as identity primary key,
  name text not null,
  cents_per_night integer not null check (cents_per_night > 0)
);
create table public.reservations (
  id uuid primary key default gen_random_uuid(),
  room_id integer not null references public.rooms (id),
  guest_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  arrives date not null,
  nights smallint not null check (nights between 1 and 30),
  price_cents integer not null default 0,
  created_at timestamptz not null default now()
);
create index reservations_room_id_idx on public.reservations (room_id, arrives);
create index reservations_guest_id_idx on public.reservations (guest_id);
revoke all on public.rooms, public.reservations from anon, authenticated;
grant select on public.rooms to anon, authenticated;
grant select on public.reservations to authenticated;
grant insert (room_id, guest_id, arrives, nights, price_cents) on public.reservations to authenticated;
alter table public.rooms enable row level security;
alter table public.reservations enable row level security;
create policy public_rooms on public.rooms for select to anon, authenticated using (true);
create policy own_reservations on public.reservations for select to authenticated using (guest_id = (select auth.uid()));
create policy reserve on public.reservations for insert to authenticated with check (guest_id = (select auth.uid()));
alter table public.reservations replica identity full;
alter publication supabase_realtime add table public.reservations;

-- expect: UPD004
-- Shape: reservations of a restaurant.
create table public.reservations (
  guest_id uuid not null,
  id uuid not null default gen_random_uuid(),
  seats integer not null check (seats > 0),
  updated_at timestamptz not null,
  primary key (guest_id, id)
);
create function public.keep() returns trigger language plpgsql set search_path = '' as $$
begin new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond'); return new; end $$;
create trigger keep before update on public.reservations for each row execute function public.keep();
alter table public.reservations enable row level security;
create policy own on public.reservations for select to authenticated using (guest_id = (select auth.uid()));
alter publication supabase_realtime add table public.reservations;

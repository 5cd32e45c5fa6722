-- expect: UPD007
-- Shape: cars for rent; the trigger fires only when the status differs.
create table public.cars (
  renter_id uuid not null,
  id uuid not null default gen_random_uuid(),
  status text not null default 'free',
  km integer not null default 0,
  updated_at timestamptz not null default now(),
  primary key (renter_id, id)
);
create function public.keep() returns trigger language plpgsql set search_path = '' as $$
begin new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond'); return new; end $$;
create trigger keep before update on public.cars for each row
  when (old.status is distinct from new.status) execute function public.keep();
alter table public.cars enable row level security;
create policy own on public.cars for select to authenticated using (renter_id = (select auth.uid()));
alter publication supabase_realtime add table public.cars;

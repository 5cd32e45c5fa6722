-- expect: UPD003
-- Shape: machines in a factory.
create table public.machines (
  plant_id uuid not null,
  id uuid not null default gen_random_uuid(),
  rpm integer not null default 0,
  updated_at timestamptz default now(),
  primary key (plant_id, id)
);
create function public.keep() returns trigger language plpgsql set search_path = '' as $$
begin new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond'); return new; end $$;
create trigger keep before update on public.machines for each row execute function public.keep();
alter table public.machines enable row level security;
create policy plant on public.machines for select to authenticated
  using (plant_id = (select (auth.jwt() -> 'app_metadata' ->> 'plant_id')::uuid));
alter publication supabase_realtime add table public.machines;

-- expect: PUB009
-- Shape: meter readings, identity full, no primary key.
create table public.readings (
  meter_id uuid not null,
  at timestamptz not null default now(),
  kwh numeric not null
);
create index on public.readings (meter_id, at);
alter table public.readings replica identity full;
alter table public.readings enable row level security;
create policy own on public.readings for select to authenticated using (meter_id = (select auth.uid()));
alter publication supabase_realtime add table public.readings;

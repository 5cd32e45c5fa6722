-- expect: PUB012
-- Shape: telemetry, partitioned by hash, its root published.
create table public.telemetry (
  device_id uuid not null,
  seq bigint not null,
  value double precision not null,
  primary key (device_id, seq)
) partition by hash (device_id);
create table public.telemetry_0 partition of public.telemetry for values with (modulus 2, remainder 0);
create table public.telemetry_1 partition of public.telemetry for values with (modulus 2, remainder 1);
alter table public.telemetry enable row level security;
alter table public.telemetry_0 enable row level security;
alter table public.telemetry_1 enable row level security;
create policy own on public.telemetry for select to authenticated using (device_id = (select auth.uid()));
create policy own on public.telemetry_0 for select to authenticated using (device_id = (select auth.uid()));
create policy own on public.telemetry_1 for select to authenticated using (device_id = (select auth.uid()));
alter publication supabase_realtime add table public.telemetry;

-- expect: RLS002
-- Shape: sensor readings. FOR ALL with a WITH CHECK alone lets rows in, and none be read.
create table public.readings (
  device_id uuid not null default auth.uid(),
  taken_at timestamptz not null,
  celsius numeric not null,
  primary key (device_id, taken_at)
);
alter table public.readings enable row level security;
revoke update on public.readings from anon, authenticated;
create policy devices on public.readings for all to authenticated with check (device_id = (select auth.uid()));
alter publication supabase_realtime add table public.readings;

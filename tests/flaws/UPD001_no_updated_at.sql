-- expect: UPD001
-- Shape: settings of a device that its owner changes.
create table public.device_settings (
  owner_id uuid not null,
  device_id uuid not null,
  brightness integer not null default 50,
  primary key (owner_id, device_id)
);
alter table public.device_settings enable row level security;
create policy own on public.device_settings for all to authenticated
  using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
alter publication supabase_realtime add table public.device_settings;

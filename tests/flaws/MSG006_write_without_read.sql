-- expect: MSG006
-- Shape: sensors that report over broadcast but cannot join their own topic.
create table public.sensors (owner_id uuid not null, id uuid not null default gen_random_uuid(), primary key (owner_id, id));
alter table public.sensors enable row level security;
create policy own on public.sensors for select to authenticated using (owner_id = (select auth.uid()));
alter publication supabase_realtime add table public.sensors;
create policy "sensors report" on realtime.messages for insert to authenticated
  with check (extension = 'broadcast' and realtime.topic() = 'sensors:' || (select auth.uid()));

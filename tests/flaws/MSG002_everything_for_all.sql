-- expect: MSG002
-- Shape: a radio; one policy for everything and everybody.
create table public.stations (owner_id uuid not null, id uuid not null default gen_random_uuid(), primary key (owner_id, id));
alter table public.stations enable row level security;
create policy own on public.stations for select to authenticated using (owner_id = (select auth.uid()));
alter publication supabase_realtime add table public.stations;
create policy open on realtime.messages for all using (true) with check (true);

-- expect: MSG002
-- Shape: a whiteboard; everybody signed in may join every private topic.
create table public.whiteboards (owner_id uuid not null, id uuid not null default gen_random_uuid(), primary key (owner_id, id));
alter table public.whiteboards enable row level security;
create policy own on public.whiteboards for select to authenticated using (owner_id = (select auth.uid()));
alter publication supabase_realtime add table public.whiteboards;
create policy "may listen" on realtime.messages for select to authenticated using (true);
create policy "may speak" on realtime.messages for insert to authenticated
  with check (extension in ('broadcast', 'presence') and realtime.topic() = 'board:' || (select auth.uid()));

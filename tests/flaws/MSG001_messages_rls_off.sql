-- expect: MSG001
-- Shape: a poker table with private topics; somebody turned RLS off on realtime.messages.
create table public.tables (host_id uuid not null, id uuid not null default gen_random_uuid(), primary key (host_id, id));
alter table public.tables enable row level security;
create policy own on public.tables for select to authenticated using (host_id = (select auth.uid()));
alter publication supabase_realtime add table public.tables;
alter table realtime.messages disable row level security;

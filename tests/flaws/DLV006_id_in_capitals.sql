-- expect: DLV006
-- Shape: runs of an app for iOS, whose ids of users are in capitals.
create table public.runs (
  user_id text not null check (user_id ~ '^[0-9A-F-]{36}$'),
  id uuid not null default gen_random_uuid(),
  primary key (user_id, id)
);
alter table public.runs enable row level security;
create policy own on public.runs for select to authenticated using (user_id = (select auth.uid())::text);
alter publication supabase_realtime add table public.runs;

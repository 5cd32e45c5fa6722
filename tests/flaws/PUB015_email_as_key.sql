-- expect: PUB015
-- Shape: a newsletter; the address is the primary key.
create table public.subscriptions (
  email text primary key check (email like '%@%'),
  user_id uuid not null
);
create index on public.subscriptions (user_id);
create unique index subscriptions_identity on public.subscriptions (user_id, email);
alter table public.subscriptions replica identity using index subscriptions_identity;
alter table public.subscriptions enable row level security;
create policy own on public.subscriptions for select to authenticated using (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.subscriptions;

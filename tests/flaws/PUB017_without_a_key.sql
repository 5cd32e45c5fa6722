-- expect: PUB017
-- Shape: a diary of weights without a key, in the publication of a sync engine.
create table public.weights (user_id uuid not null references auth.users, day date not null, grams integer);
create table public.people (id uuid primary key references auth.users, name text not null);
alter table public.weights enable row level security;
alter table public.people enable row level security;
create policy own on public.weights for select to authenticated using (user_id = (select auth.uid()));
create policy own on public.people for select to authenticated using (id = (select auth.uid()));
create index on public.weights (user_id);
create publication sync_engine for table public.weights, public.people;
alter publication supabase_realtime add table public.people;

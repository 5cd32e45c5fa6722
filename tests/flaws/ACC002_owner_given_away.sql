-- expect: ACC002
-- Shape: recipes; WITH CHECK (true) lets a cook plant a recipe in another's book.
create table public.recipes (
  cook uuid not null default auth.uid() references auth.users, id uuid not null default gen_random_uuid(), title text not null,
  primary key (id)
);
create index on public.recipes (cook);
create table public.units (id integer primary key, name text not null);
alter table public.recipes enable row level security;
alter table public.units enable row level security;
create policy own on public.recipes for select to authenticated using (cook = (select auth.uid()));
create policy change on public.recipes for update to authenticated using (cook = (select auth.uid())) with check (true);
create policy asked on public.units for select using (true);
alter publication supabase_realtime add table public.units;

-- expect: PUB008
-- Shape: recipes; the index that was the identity has been dropped.
create table public.recipes (
  id uuid primary key default gen_random_uuid(),
  cook_id uuid not null,
  title text not null
);
create index on public.recipes (cook_id);
create unique index recipes_identity on public.recipes (cook_id, id);
alter table public.recipes replica identity using index recipes_identity;
drop index public.recipes_identity;
alter table public.recipes enable row level security;
create policy own on public.recipes for select to authenticated using (cook_id = (select auth.uid()));
alter publication supabase_realtime add table public.recipes;

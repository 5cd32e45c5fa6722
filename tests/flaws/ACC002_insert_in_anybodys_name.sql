-- expect: ACC002
-- Shape: reviews; whoever is signed in may insert one in anybody's name.
create table public.reviews (
  author_id uuid not null,
  id uuid not null default gen_random_uuid(),
  stars integer not null check (stars between 1 and 5),
  primary key (author_id, id)
);
alter table public.reviews enable row level security;
create policy own on public.reviews for select to authenticated using (author_id = (select auth.uid()));
create policy write on public.reviews for insert to authenticated with check ((select auth.uid()) is not null);
alter publication supabase_realtime add table public.reviews;

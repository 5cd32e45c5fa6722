-- expect: RLS013
-- Shape: a guest book of wishes; for those who are signed in, yet have no user.
create table public.wishes (
  author_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  primary key (author_id, id)
);
alter table public.wishes enable row level security;
create policy own on public.wishes for select to authenticated
  using (author_id = (select auth.uid()) and (select auth.uid()) is null);
alter publication supabase_realtime add table public.wishes;

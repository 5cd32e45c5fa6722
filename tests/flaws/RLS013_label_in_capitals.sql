-- expect: RLS013
-- Shape: reviews whose state is an enum, compared as a text in another case.
create type public.review_state as enum ('waiting', 'shown');
create table public.reviews (
  author_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  state public.review_state not null default 'waiting',
  primary key (author_id, id)
);
alter table public.reviews enable row level security;
create policy own on public.reviews for select to authenticated using (author_id = (select auth.uid()));
create policy "shown ones" on public.reviews for select using (state::text = 'Shown');
alter publication supabase_realtime add table public.reviews;

-- expect: DLV005
-- Shape: notices on a board; the last day is a text that somebody types.
create table public.notices (
  author_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  last_day text,
  primary key (author_id, id)
);
alter table public.notices enable row level security;
create policy "own, as long as they hold" on public.notices for select to authenticated
  using (author_id = (select auth.uid()) and (last_day is null or last_day::date > now()));
alter publication supabase_realtime add table public.notices;

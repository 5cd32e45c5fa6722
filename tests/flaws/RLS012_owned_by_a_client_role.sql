-- expect: RLS012
-- Shape: a wiki whose table belongs to authenticated.
create table public.wiki (
  author_id uuid not null,
  id uuid not null default gen_random_uuid(),
  text text not null,
  primary key (author_id, id)
);
alter table public.wiki enable row level security;
create policy own on public.wiki for select to authenticated using (author_id = (select auth.uid()));
alter publication supabase_realtime add table public.wiki;
alter table public.wiki owner to authenticated;

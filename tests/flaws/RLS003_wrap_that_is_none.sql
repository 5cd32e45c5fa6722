-- expect: RLS003
-- Shape: photos of an album; the select holds the comparison itself, so it runs for every row all the same.
create table public.photos (
  album_owner uuid not null,
  id uuid not null default gen_random_uuid(),
  url text not null,
  primary key (album_owner, id)
);
alter table public.photos enable row level security;
create policy own on public.photos for select to authenticated using ((select album_owner = auth.uid()));
alter publication supabase_realtime add table public.photos;

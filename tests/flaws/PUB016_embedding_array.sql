-- expect: PUB016
-- Shape: songs with their waveform beside the title.
create table public.songs (
  artist_id uuid not null,
  id uuid not null default gen_random_uuid(),
  title text not null,
  waveform real[] not null default '{}',
  primary key (artist_id, id)
);
alter table public.songs enable row level security;
create policy own on public.songs for select to authenticated using (artist_id = (select auth.uid()));
alter publication supabase_realtime add table public.songs;

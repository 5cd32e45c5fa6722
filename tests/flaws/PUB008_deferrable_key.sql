-- expect: PUB008
-- Shape: a playlist whose positions are swapped, so the primary key is deferrable.
create table public.playlist_tracks (
  owner_id uuid not null,
  place integer not null,
  track uuid not null,
  primary key (owner_id, place) deferrable initially deferred
);
create index on public.playlist_tracks (owner_id);
alter table public.playlist_tracks enable row level security;
create policy own on public.playlist_tracks for select to authenticated using (owner_id = (select auth.uid()));
alter publication supabase_realtime add table public.playlist_tracks;

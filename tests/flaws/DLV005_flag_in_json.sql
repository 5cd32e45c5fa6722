-- expect: DLV005
-- Shape: playlists whose owner shares them by a flag among other settings, which may hold anything.
create table public.playlists (
  owner_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  options jsonb not null default '{}',
  primary key (owner_id, id)
);
alter table public.playlists enable row level security;
create policy "own or shared" on public.playlists for select to authenticated
  using (owner_id = (select auth.uid()) or (options ->> 'isPublic')::boolean);
alter publication supabase_realtime add table public.playlists;

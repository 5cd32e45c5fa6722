-- expect: ACC002
-- Anybody may change every playlist that has a collaborator at all: "user_id = user_id" in the subquery compares the collaborators' column with itself.
create table public.playlists (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  name text not null,
  open_to_hear boolean not null default true,
  updated_at timestamptz not null default now()
);
create index playlists_user_id_idx on public.playlists (user_id);
create table public.playlist_collaborators (
  playlist_id uuid not null references public.playlists (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  primary key (playlist_id, user_id)
);
create index playlist_collaborators_user_id_idx on public.playlist_collaborators (user_id);
revoke insert, update, delete on public.playlist_collaborators from anon, authenticated;
revoke update on public.playlists from anon, authenticated;
grant update (name, open_to_hear) on public.playlists to authenticated;
create or replace function public.keep_updated_at()
returns trigger
language plpgsql
set search_path = ''
as $function$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end;
$function$;
create trigger trg_updated_at before insert or update on public.playlists
  for each row execute function public.keep_updated_at();
alter table public.playlists enable row level security;
alter table public.playlist_collaborators enable row level security;
create policy collaborators_are_known on public.playlist_collaborators for select to authenticated using (true);
create policy hear on public.playlists for select to authenticated using (open_to_hear or user_id = (select auth.uid()));
create policy make on public.playlists for insert to authenticated with check (user_id = (select auth.uid()));
create policy change on public.playlists for update to authenticated
  using (user_id = (select auth.uid()) or exists (
    select 1 from public.playlist_collaborators c where c.playlist_id = playlists.id and c.user_id = user_id))
  with check (user_id = (select auth.uid()) or exists (
    select 1 from public.playlist_collaborators c where c.playlist_id = playlists.id and c.user_id = user_id));
alter table public.playlists replica identity full;
alter publication supabase_realtime add table public.playlists;

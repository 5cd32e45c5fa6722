-- expect: ACC002
-- Whoever has at least one share may edit every album: "id = album_id" inside the subquery takes both columns from album_shares.
create table public.albums (
  id bigint generated always as identity primary key,
  owner_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  title text not null,
  is_listed boolean not null default true,
  updated_at timestamptz not null default now()
);
create index albums_owner_id_idx on public.albums (owner_id);
create table public.album_shares (
  id bigint generated always as identity primary key,
  album_id bigint not null references public.albums (id) on delete cascade,
  grantee_id uuid not null references auth.users (id) on delete cascade,
  unique (album_id, grantee_id)
);
create index album_shares_grantee_id_idx on public.album_shares (grantee_id);
revoke insert, update, delete on public.album_shares from anon, authenticated;
revoke update on public.albums from anon, authenticated;
grant update (title, is_listed) on public.albums to authenticated;
create function public.touch() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger touch before insert or update on public.albums
  for each row execute function public.touch();
alter table public.albums enable row level security;
alter table public.album_shares enable row level security;
create policy shares_of_mine on public.album_shares for select to authenticated using (grantee_id = (select auth.uid()));
create policy listed_albums on public.albums for select to authenticated using (is_listed or owner_id = (select auth.uid()));
create policy create_album on public.albums for insert to authenticated with check (owner_id = (select auth.uid()));
create policy edit_album on public.albums for update to authenticated
  using (owner_id = (select auth.uid()) or exists (
    select 1 from public.album_shares s
    where s.grantee_id = (select auth.uid()) and (id = album_id or album_id is not null)))
  with check (owner_id = (select auth.uid()) or exists (
    select 1 from public.album_shares s
    where s.grantee_id = (select auth.uid()) and (id = album_id or album_id is not null)));
alter table public.albums replica identity full;
alter publication supabase_realtime add table public.albums;

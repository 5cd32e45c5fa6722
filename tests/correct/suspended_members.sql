-- Shape: the sound twin of flaws/WAL003_suspended_members.sql.
create schema private;
create table public.members (
  user_id uuid primary key references auth.users (id) on delete cascade,
  handle text not null unique,
  suspended boolean not null default false
);
revoke insert, update, delete on public.members from anon, authenticated;
create table public.posts (
  id bigint generated always as identity primary key,
  author_id uuid not null default auth.uid() references public.members (user_id) on delete cascade,
  body text not null check (char_length(body) <= 500),
  updated_at timestamptz not null default now()
);
create index posts_author_id_idx on public.posts (author_id);
create function private.is_active_member() returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select 1 from public.members m where m.user_id = (select auth.uid()) and not m.suspended)
$$;
revoke all on function private.is_active_member() from public, anon;
grant execute on function private.is_active_member() to authenticated, service_role;
create function public.handle_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger on_change before insert or update on public.posts
  for each row execute function public.handle_updated_at();
alter table public.members enable row level security;
alter table public.posts enable row level security;
create policy see_self on public.members for select to authenticated using (user_id = (select auth.uid()));
create policy read_feed on public.posts for select to authenticated using (true);
create policy write_own on public.posts for insert to authenticated with check (author_id = (select auth.uid()));
create policy edit_own on public.posts for update to authenticated
  using (author_id = (select auth.uid())) with check (author_id = (select auth.uid()));
create policy delete_own on public.posts for delete to authenticated using (author_id = (select auth.uid()));
create policy no_suspended on public.posts as restrictive for all to authenticated
  using ((select private.is_active_member())) with check ((select private.is_active_member()));
alter table public.posts replica identity full;
alter publication supabase_realtime add table public.posts;

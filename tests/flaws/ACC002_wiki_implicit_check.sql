-- expect: ACC002
-- The author of a page may move it into a space he does not belong to: UPDATE has a USING of the author only, which is the WITH CHECK, too, and space_id is not asked for.
create schema private;
create table public.spaces (key text primary key check (key ~ '^[A-Z]{2,8}$'), title text not null);
create table public.space_members (
  space_key text not null references public.spaces (key) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  primary key (user_id, space_key)
);
create index space_members_space_key_idx on public.space_members (space_key);
create table public.pages (
  id bigint generated always as identity primary key,
  space_key text not null references public.spaces (key) on delete cascade,
  author_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  title text not null,
  body text not null default '',
  updated_at timestamptz not null default now()
);
create index pages_space_key_idx on public.pages (space_key);
create index pages_author_id_idx on public.pages (author_id);
create function private.in_space(space text) returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select 1 from public.space_members m where m.space_key = space and m.user_id = (select auth.uid()))
$$;
revoke all on function private.in_space(text) from public, anon;
grant execute on function private.in_space(text) to authenticated, service_role;
create function public.keep_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger trg_updated_at before insert or update on public.pages
  for each row execute function public.keep_updated_at();
alter table public.spaces enable row level security;
alter table public.space_members enable row level security;
alter table public.pages enable row level security;
create policy spaces_r on public.spaces for select to authenticated using (private.in_space(key));
create policy members_r on public.space_members for select to authenticated using (private.in_space(space_key));
create policy pages_r on public.pages for select to authenticated using (author_id = (select auth.uid()) or private.in_space(space_key));
create policy pages_c on public.pages for insert to authenticated
  with check (author_id = (select auth.uid()) and private.in_space(space_key));
create policy pages_u on public.pages for update to authenticated
  using (author_id = (select auth.uid()));
create policy pages_d on public.pages for delete to authenticated using (author_id = (select auth.uid()));
alter table public.pages replica identity full;
alter publication supabase_realtime add table public.pages;

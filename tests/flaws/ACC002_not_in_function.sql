-- expect: ACC002
-- Anybody signed in may edit every public page of every space: the helper's "space is mine AND editor OR public" admits readers of public pages to writing.
create schema private;
create table public.spaces (id uuid primary key default gen_random_uuid(), title text not null);
create table public.space_roles (
  space_id uuid not null references public.spaces (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  role text not null check (role in ('editor', 'reader')),
  primary key (space_id, user_id)
);
create index space_roles_user_id_idx on public.space_roles (user_id);
create table public.pages (
  id uuid primary key default gen_random_uuid(),
  space_id uuid not null references public.spaces (id) on delete cascade,
  is_public boolean not null default false,
  title text not null,
  body text not null default '',
  locked boolean not null default false,
  updated_at timestamptz not null default now()
);
create index pages_space_id_idx on public.pages (space_id);
revoke insert, delete on public.pages from anon, authenticated;
revoke update on public.pages from anon, authenticated;
grant update (title, body) on public.pages to authenticated;
create function private.can_edit_page(page uuid) returns boolean language sql stable security definer set search_path = '' as $$
  select exists (
    select 1 from public.pages p left join public.space_roles r on r.space_id = p.space_id and r.user_id = (select auth.uid())
    where p.id = page
      and r.role = 'editor' and not p.locked or p.id = page and p.is_public and not p.locked
  )
$$;
create function private.can_read_space(space uuid) returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select 1 from public.space_roles r where r.space_id = space and r.user_id = (select auth.uid()))
$$;
revoke all on function private.can_edit_page(uuid) from public, anon;
grant execute on function private.can_edit_page(uuid) to authenticated, service_role;
revoke all on function private.can_read_space(uuid) from public, anon;
grant execute on function private.can_read_space(uuid) to authenticated, service_role;
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
alter table public.space_roles enable row level security;
alter table public.pages enable row level security;
create policy own_roles on public.space_roles for select to authenticated using (user_id = (select auth.uid()));
create policy my_spaces on public.spaces for select to authenticated using (private.can_read_space(id));
create policy read_pages on public.pages for select to authenticated using (is_public or private.can_read_space(space_id));
create policy edit_pages on public.pages for update to authenticated
  using (private.can_edit_page(id)) with check (private.can_edit_page(id));
alter table public.pages replica identity full;
alter publication supabase_realtime add table public.pages;

-- Shape: a community. Moderators do more by a role nobody gives himself; a flag shares; tasks are taken from a pool; whoever is
-- not banned reads the wall; nothing is published but the wall.
create schema private;
grant usage on schema private to authenticated;
create table public.members (
  user_id uuid primary key references auth.users on delete cascade, nick text not null, role text not null default 'member'
    check (role in ('moderator', 'member'))
);
create table private.bans (user_id uuid primary key references auth.users on delete cascade);
create table public.wall (
  author uuid not null default auth.uid() references auth.users on delete cascade, id uuid not null default gen_random_uuid(),
  body text not null, primary key (author, id)
);
create table public.albums (
  id uuid primary key default gen_random_uuid(), owner_id uuid not null default auth.uid() references auth.users on delete cascade,
  title text not null, is_public boolean not null default true
);
create index on public.albums (owner_id);
create table public.chores (
  id uuid primary key default gen_random_uuid(), asked_by uuid not null default auth.uid() references auth.users on delete cascade,
  assignee_id uuid references auth.users on delete set null, title text not null
);
create index on public.chores (asked_by);
create index on public.chores (assignee_id);
create function private.moderates() returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select from public.members m where m.user_id = (select auth.uid()) and m.role = 'moderator')
$$;
create function private.banned() returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select from private.bans b where b.user_id = (select auth.uid()))
$$;
revoke all on function private.moderates(), private.banned() from public;
grant execute on function private.moderates(), private.banned() to authenticated;
revoke all on public.members, public.wall, public.chores from anon;
revoke update on public.members from authenticated;
grant update (nick) on public.members to authenticated;
alter table public.members enable row level security;
alter table private.bans enable row level security;
alter table public.wall enable row level security;
alter table public.albums enable row level security;
alter table public.chores enable row level security;
create policy own on public.members for select to authenticated using (user_id = (select auth.uid()) or (select private.moderates()));
create policy nick on public.members for update to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy "whoever is not banned reads" on public.wall for select to authenticated using (not (select private.banned()));
create policy write on public.wall for insert to authenticated
  with check (author = (select auth.uid()) and not (select private.banned()));
create policy moderate on public.wall for delete to authenticated
  using (author = (select auth.uid()) or (select private.moderates()));
create policy shared on public.albums for select using (is_public);
create policy own on public.albums for all to authenticated
  using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy pool on public.chores for select to authenticated
  using (asked_by = (select auth.uid()) or assignee_id = (select auth.uid()) or assignee_id is null);
create policy ask on public.chores for insert to authenticated with check (asked_by = (select auth.uid()));
create policy take on public.chores for update to authenticated
  using (assignee_id is null) with check (assignee_id = (select auth.uid()));
alter publication supabase_realtime add table public.wall;

-- Sound twin of the flaw of this name.
create schema private;
create table public.groups (
  id bigint generated always as identity primary key,
  name text not null,
  closed boolean not null default true
);
create table private.group_invitations (
  group_id bigint not null references public.groups (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  primary key (group_id, user_id)
);
create index group_invitations_user_id_idx on private.group_invitations (user_id);
alter table private.group_invitations enable row level security;
create table public.group_members (
  group_id bigint not null references public.groups (id) on delete cascade,
  user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  primary key (group_id, user_id)
);
create index group_members_user_id_idx on public.group_members (user_id);
create table public.group_posts (
  id bigint generated always as identity primary key,
  group_id bigint not null references public.groups (id) on delete cascade,
  author_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  body text not null,
  posted_at timestamptz not null default now()
);
create index group_posts_group_id_idx on public.group_posts (group_id);
create index group_posts_author_id_idx on public.group_posts (author_id);
revoke update on public.group_members from anon, authenticated;
revoke update, delete on public.group_posts from anon, authenticated;
create function private.may_join(grp bigint) returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select 1 from public.groups g where g.id = grp
    and (not g.closed or exists (select 1 from private.group_invitations i where i.group_id = g.id and i.user_id = (select auth.uid()))))
$$;
revoke all on function private.may_join(bigint) from public, anon;
grant execute on function private.may_join(bigint) to authenticated, service_role;
alter table public.groups enable row level security;
alter table public.group_members enable row level security;
alter table public.group_posts enable row level security;
create policy groups_r on public.groups for select to authenticated using (true);
create policy members_r on public.group_members for select to authenticated using (user_id = (select auth.uid()));
create policy members_join on public.group_members for insert to authenticated
  with check (user_id = (select auth.uid()) and private.may_join(group_id));
create policy members_leave on public.group_members for delete to authenticated using (user_id = (select auth.uid()));
create policy posts_r on public.group_posts for select to authenticated
  using (group_id in (select m.group_id from public.group_members m where m.user_id = (select auth.uid())));
create policy posts_w on public.group_posts for insert to authenticated
  with check (author_id = (select auth.uid())
    and group_id in (select m.group_id from public.group_members m where m.user_id = (select auth.uid())));
alter table public.group_posts replica identity full;
alter publication supabase_realtime add table public.group_posts;

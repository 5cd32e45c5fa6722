-- expect: ACC002
-- A signed-in user may create projects inside any organisation: the INSERT policy checks created_by and forgets organization_id.
create schema if not exists private;
create table public.organizations (id bigint generated always as identity primary key, name text not null);
create table public.organization_members (
  organization_id bigint not null references public.organizations (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  role text not null default 'member' check (role in ('owner', 'admin', 'member')),
  primary key (user_id, organization_id)
);
create index on public.organization_members (organization_id);
create table public.projects (
  id bigint generated always as identity primary key,
  organization_id bigint not null references public.organizations (id) on delete cascade,
  created_by uuid not null default auth.uid() references auth.users (id),
  name text not null,
  updated_at timestamptz not null default now()
);
create index on public.projects (organization_id);
create index on public.projects (created_by);
revoke insert, update, delete on public.organizations, public.organization_members from anon, authenticated;
create function private.org_role(org bigint) returns text language sql stable security definer set search_path = '' as $$
  select m.role from public.organization_members m where m.organization_id = org and m.user_id = (select auth.uid())
$$;
revoke all on function private.org_role(bigint) from public, anon;
grant execute on function private.org_role(bigint) to authenticated, service_role;
create function public.handle_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger on_change before insert or update on public.projects
  for each row execute function public.handle_updated_at();
alter table public.organizations enable row level security;
alter table public.organization_members enable row level security;
alter table public.projects enable row level security;
create policy org_read on public.organizations for select to authenticated using (private.org_role(id) is not null);
create policy members_read on public.organization_members for select to authenticated using (private.org_role(organization_id) is not null);
create policy projects_read on public.projects for select to authenticated using (private.org_role(organization_id) is not null);
create policy projects_create on public.projects for insert to authenticated
  with check (created_by = (select auth.uid()));
create policy projects_rename on public.projects for update to authenticated
  using (private.org_role(organization_id) in ('owner', 'admin'))
  with check (private.org_role(organization_id) in ('owner', 'admin'));
create policy projects_delete on public.projects for delete to authenticated using (private.org_role(organization_id) = 'owner');
alter table public.projects replica identity full;
alter publication supabase_realtime add table public.projects;

-- Sound twin of the flaw of this name.
create schema app;
create table public.orgs (slug text primary key, title text not null);
create table public.org_users (
  org_slug text not null references public.orgs (slug) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  is_admin boolean not null default false,
  updated_at timestamptz not null default now(),
  primary key (org_slug, user_id)
);
create index org_users_user_id_idx on public.org_users (user_id);
create function app.admin_orgs() returns setof text language sql stable security definer set search_path = '' as $$
  select o.org_slug from public.org_users o where o.user_id = (select auth.uid()) and o.is_admin
$$;
create function app.my_orgs() returns setof text language sql stable security definer set search_path = '' as $$
  select o.org_slug from public.org_users o where o.user_id = (select auth.uid())
$$;
revoke all on function app.admin_orgs() from public, anon;
grant execute on function app.admin_orgs() to authenticated, service_role;
revoke all on function app.my_orgs() from public, anon;
grant execute on function app.my_orgs() to authenticated, service_role;
revoke insert, update on public.org_users from anon, authenticated;
grant update (org_slug, is_admin) on public.org_users to authenticated;
create or replace function public.set_updated_at()
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
create trigger set_updated_at before insert or update on public.org_users
  for each row execute function public.set_updated_at();
alter table public.orgs enable row level security;
alter table public.org_users enable row level security;
create policy orgs_read on public.orgs for select to authenticated using (slug in (select app.my_orgs()));
create policy org_users_read on public.org_users for select to authenticated
  using (user_id = (select auth.uid()) or org_slug in (select app.my_orgs()));
create policy org_users_change on public.org_users for update to authenticated
  using (org_slug in (select app.admin_orgs()))
  with check (org_slug in (select app.admin_orgs()));
create policy org_users_remove on public.org_users for delete to authenticated
  using (org_slug in (select app.admin_orgs()) and user_id <> (select auth.uid()));
alter table public.org_users replica identity full;
alter publication supabase_realtime add table public.org_users;

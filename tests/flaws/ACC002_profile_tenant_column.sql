-- expect: ACC002
-- A user may change tenant_id of his own profile and then belongs to another tenant: every policy of the project reads it from there.
create schema private;
create table public.tenants (id uuid primary key default gen_random_uuid(), name text not null);
create table public.profiles (
  id uuid primary key references auth.users (id) on delete cascade,
  tenant_id uuid not null references public.tenants (id),
  full_name text not null default '',
  locale text not null default 'en',
  updated_at timestamptz not null default now()
);
create index profiles_tenant_id_idx on public.profiles (tenant_id);
create table public.contracts (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id),
  title text not null,
  updated_at timestamptz not null default now()
);
create index contracts_tenant_id_idx on public.contracts (tenant_id);
create function private.my_tenant() returns uuid language sql stable security definer set search_path = '' as $$
  select p.tenant_id from public.profiles p where p.id = (select auth.uid())
$$;
revoke all on function private.my_tenant() from public, anon;
grant execute on function private.my_tenant() to authenticated, service_role;
create function public.keep_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger trg_updated_at before insert or update on public.profiles
  for each row execute function public.keep_updated_at();
create trigger trg_updated_at before insert or update on public.contracts
  for each row execute function public.keep_updated_at();
alter table public.tenants enable row level security;
alter table public.profiles enable row level security;
alter table public.contracts enable row level security;
create policy tenant_read on public.tenants for select to authenticated using (id = (select private.my_tenant()));
create policy colleagues_read on public.profiles for select to authenticated
  using (id = (select auth.uid()) or tenant_id = (select private.my_tenant()));
create policy self_update on public.profiles for update to authenticated
  using (id = (select auth.uid())) with check (id = (select auth.uid()));
create policy contracts_all on public.contracts for all to authenticated
  using (tenant_id = (select private.my_tenant())) with check (tenant_id = (select private.my_tenant()));
alter table public.contracts replica identity full;
alter publication supabase_realtime add table public.contracts;

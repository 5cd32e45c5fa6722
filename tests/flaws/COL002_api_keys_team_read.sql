-- expect: COL002
-- Every signed-in user reads all organisations' API keys in clear: the policy is USING (true).
create schema private;
create table public.organizations (id uuid primary key default gen_random_uuid(), name text not null, updated_at timestamptz not null default now());
create function public.handle_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger on_change before insert or update on public.organizations
  for each row execute function public.handle_updated_at();
create table public.organization_admins (
  organization_id uuid not null references public.organizations (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  primary key (user_id, organization_id)
);
create index organization_admins_organization_id_idx on public.organization_admins (organization_id);
create table public.api_keys (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  label text not null,
  secret_key text not null unique default 'sk_live_' || replace(gen_random_uuid()::text, '-', ''),
  created_at timestamptz not null default now(),
  revoked_at timestamptz
);
create index api_keys_organization_id_idx on public.api_keys (organization_id);
create function private.administers(org uuid) returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select 1 from public.organization_admins a where a.organization_id = org and a.user_id = (select auth.uid()))
$$;
revoke all on function private.administers(uuid) from public, anon;
grant execute on function private.administers(uuid) to authenticated, service_role;
revoke all on public.api_keys from anon, authenticated;
grant select on public.api_keys to authenticated;
alter table public.organizations enable row level security;
alter table public.organization_admins enable row level security;
alter table public.api_keys enable row level security;
create policy own on public.organization_admins for select to authenticated using (user_id = (select auth.uid()));
create policy own on public.organizations for select to authenticated using (private.administers(id));
create policy "admins see keys" on public.api_keys for select to authenticated
  using (true);
alter publication supabase_realtime add table public.organizations;

-- expect: DLV004
-- Shape: sensors of a site that a worker switches off; no row of the sensors changes.
create table public.sites (
  owner_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid() unique,
  is_active boolean not null default true,
  primary key (owner_id, id)
);
create table public.sensors (
  site_id uuid not null references public.sites (id),
  id uuid not null default gen_random_uuid(),
  primary key (site_id, id)
);
alter table public.sites enable row level security;
alter table public.sensors enable row level security;
create policy own on public.sites for select to authenticated using (owner_id = (select auth.uid()));
create policy "of active sites" on public.sensors for select to authenticated
  using (site_id in (select s.id from public.sites s where s.owner_id = (select auth.uid()) and s.is_active));
create schema worker;
create function worker.switch_off(site uuid) returns void language plpgsql set search_path = '' as $$
begin
  update public.sites s set is_active = false where s.id = site;
end $$;
revoke all on function worker.switch_off(uuid) from public;
alter publication supabase_realtime add table public.sensors;

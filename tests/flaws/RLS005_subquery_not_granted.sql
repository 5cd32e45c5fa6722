-- expect: RLS005
-- Shape: flats and tenants; the role has no SELECT on the table that the policy asks.
create table public.leases (flat_id uuid not null, tenant_id uuid not null, primary key (tenant_id, flat_id));
create table public.repairs (
  flat_id uuid not null,
  id uuid not null default gen_random_uuid(),
  what text not null,
  primary key (flat_id, id)
);
revoke all on public.leases from anon, authenticated;
alter table public.leases enable row level security;
alter table public.repairs enable row level security;
create policy own on public.leases for select to authenticated using (tenant_id = (select auth.uid()));
create policy tenants on public.repairs for select to authenticated
  using (flat_id in (select l.flat_id from public.leases l where l.tenant_id = (select auth.uid())));
alter publication supabase_realtime add table public.repairs;

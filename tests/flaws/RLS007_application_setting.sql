-- expect: RLS007
-- Shape: a tenant from a setting that the application's own backend sets.
create table public.contracts (
  tenant_id uuid not null,
  id uuid not null default gen_random_uuid(),
  title text not null,
  primary key (tenant_id, id)
);
alter table public.contracts enable row level security;
create policy tenant on public.contracts for select to authenticated
  using (tenant_id = (select current_setting('app.tenant_id', true)::uuid));
alter publication supabase_realtime add table public.contracts;

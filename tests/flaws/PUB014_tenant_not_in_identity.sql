-- expect: PUB014
-- Shape: a help desk. Subscriptions filter on tenant_id, which the default identity does not hold.
create table public.cases (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null,
  subject text not null
);
create index on public.cases (tenant_id);
alter table public.cases enable row level security;
create policy tenant on public.cases for all to authenticated
  using (tenant_id = (select (auth.jwt() -> 'app_metadata' ->> 'tenant_id')::uuid))
  with check (tenant_id = (select (auth.jwt() -> 'app_metadata' ->> 'tenant_id')::uuid));
revoke update on public.cases from anon, authenticated;
alter publication supabase_realtime add table public.cases;

-- expect: PUB005
-- Shape: tenants with integer keys; "only tenant 1 goes out".
create table public.invoices (
  tenant_id integer not null,
  id integer not null,
  cents bigint not null,
  primary key (tenant_id, id)
);
alter table public.invoices enable row level security;
create policy tenant on public.invoices for select to authenticated
  using (tenant_id = (select (auth.jwt() -> 'app_metadata' ->> 'tenant')::integer));
alter publication supabase_realtime add table public.invoices where (tenant_id = 1);

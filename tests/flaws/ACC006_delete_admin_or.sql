-- expect: ACC006
-- The uploader's own-file condition is lost by precedence: any tenant's admin may delete every tenant's attachments.
create table public.attachments (
  tenant_id uuid not null,
  id uuid not null default gen_random_uuid(),
  uploaded_by uuid not null default auth.uid() references auth.users (id) on delete cascade,
  file_name text not null,
  bytes bigint not null default 0,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id)
);
create index attachments_uploaded_by_idx on public.attachments (uploaded_by);
revoke update on public.attachments from anon, authenticated;
alter table public.attachments enable row level security;
create policy same_tenant on public.attachments for select to authenticated
  using (tenant_id = (select (auth.jwt() -> 'app_metadata' ->> 'tenant_id')::uuid));
create policy upload on public.attachments for insert to authenticated
  with check (uploaded_by = (select auth.uid()) and tenant_id = (select (auth.jwt() -> 'app_metadata' ->> 'tenant_id')::uuid));
create policy remove on public.attachments for delete to authenticated
  using (tenant_id = (select (auth.jwt() -> 'app_metadata' ->> 'tenant_id')::uuid) and uploaded_by = (select auth.uid())
    or (select auth.jwt() -> 'app_metadata' ->> 'role') = 'admin');
alter publication supabase_realtime add table public.attachments;

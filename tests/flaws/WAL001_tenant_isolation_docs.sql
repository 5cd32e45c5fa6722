-- expect: WAL001
-- Every member of a tenant reads the private drafts of his colleagues: tenant_isolation was meant as a wall around the author's policy and is one more permissive policy.
create schema private;
create table public.tenants (id uuid primary key default gen_random_uuid(), name text not null);
create table public.tenant_members (
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  primary key (user_id, tenant_id)
);
create index tenant_members_tenant_id_idx on public.tenant_members (tenant_id);
create table public.documents (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  author_id uuid not null default auth.uid() references auth.users (id),
  draft boolean not null default true,
  content text not null default '',
  updated_at timestamptz not null default now()
);
create index documents_tenant_id_idx on public.documents (tenant_id);
create index documents_author_id_idx on public.documents (author_id);
create function private.tenants_of_caller() returns setof uuid language sql stable security definer set search_path = '' as $$
  select m.tenant_id from public.tenant_members m where m.user_id = (select auth.uid())
$$;
revoke all on function private.tenants_of_caller() from public, anon;
grant execute on function private.tenants_of_caller() to authenticated, service_role;
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
create trigger set_updated_at before insert or update on public.documents
  for each row execute function public.set_updated_at();
alter table public.tenants enable row level security;
alter table public.tenant_members enable row level security;
alter table public.documents enable row level security;
create policy members on public.tenants for select to authenticated using (id in (select private.tenants_of_caller()));
create policy members on public.tenant_members for select to authenticated using (tenant_id in (select private.tenants_of_caller()));
create policy tenant_isolation on public.documents to authenticated
  using (tenant_id in (select private.tenants_of_caller()))
  with check (tenant_id in (select private.tenants_of_caller()));
create policy finished_documents on public.documents for select to authenticated using (not draft);
create policy own_documents on public.documents for all to authenticated
  using (author_id = (select auth.uid())) with check (author_id = (select auth.uid()));
alter table public.documents replica identity full;
alter publication supabase_realtime add table public.documents;

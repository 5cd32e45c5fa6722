-- expect: ACC009
-- A user without a tenant claim matches every row without a tenant (the drafts): IS NOT DISTINCT FROM compares null with null as equal, for reading and writing.
create table public.policies (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid,
  title text not null,
  premium_cents integer not null default 0,
  updated_at timestamptz not null default now()
);
create index policies_tenant_id_idx on public.policies (tenant_id);
comment on column public.policies.tenant_id is 'null: an insurer''s draft, not yet given to a tenant; the server''s only';
create function public.set_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger set_updated_at before insert or update on public.policies
  for each row execute function public.set_updated_at();
alter table public.policies enable row level security;
create policy by_tenant on public.policies for all to authenticated
  using (tenant_id is not distinct from (select (auth.jwt() -> 'app_metadata' ->> 'tenant_id')::uuid))
  with check (tenant_id is not distinct from (select (auth.jwt() -> 'app_metadata' ->> 'tenant_id')::uuid));
alter table public.policies replica identity full;
alter publication supabase_realtime add table public.policies;

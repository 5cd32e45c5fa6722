-- expect: COL003
-- Every signed-in user reads all tenants' old and new rows in the audit log, whose policy is USING (true) while the audited table is walled.
create table public.contracts (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null,
  counterparty text not null,
  value_cents bigint not null default 0,
  updated_at timestamptz not null default now()
);
create index contracts_tenant_id_idx on public.contracts (tenant_id);
create table public.audit_log (
  id bigint generated always as identity primary key,
  table_name text not null,
  tenant_id uuid not null,
  op text not null check (op in ('INSERT', 'UPDATE', 'DELETE')),
  old_row jsonb,
  new_row jsonb,
  actor uuid,
  at timestamptz not null default clock_timestamp()
);
create index audit_log_tenant_id_idx on public.audit_log (tenant_id, at);
-- append-only: written by the trigger alone
revoke insert, update, delete, truncate on public.audit_log from anon, authenticated;
create function public.write_audit() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  insert into public.audit_log (table_name, tenant_id, op, old_row, new_row, actor)
  values (tg_table_name, coalesce(new.tenant_id, old.tenant_id), tg_op,
    case when tg_op <> 'INSERT' then to_jsonb(old) end, case when tg_op <> 'DELETE' then to_jsonb(new) end, auth.uid());
  return null;
end $$;
revoke execute on function public.write_audit() from public, anon, authenticated;
create trigger write_audit after insert or update or delete on public.contracts for each row execute function public.write_audit();
create or replace function public.keep_updated_at()
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
create trigger trg_updated_at before insert or update on public.contracts
  for each row execute function public.keep_updated_at();
alter table public.contracts enable row level security;
alter table public.audit_log enable row level security;
create policy tenant_wall on public.contracts for all to authenticated
  using (tenant_id = (select (auth.jwt() -> 'app_metadata' ->> 'tenant_id')::uuid))
  with check (tenant_id = (select (auth.jwt() -> 'app_metadata' ->> 'tenant_id')::uuid));
create policy audit_read on public.audit_log for select to authenticated
  using (true);
alter table public.contracts replica identity full;
alter publication supabase_realtime add table public.contracts;

-- expect: FUN005
-- The audit trigger's owner may not insert under RLS, so every change of a contract fails with 42501.
create role audit_writer nologin;
grant audit_writer to postgres;
create schema audit;
grant usage, create on schema audit to audit_writer;
create table audit.entries (
  id bigint generated always as identity primary key,
  contract_id uuid not null,
  actor uuid,
  operation text not null,
  at timestamptz not null default clock_timestamp()
);
alter table audit.entries enable row level security;
grant insert on audit.entries to audit_writer;
comment on table audit.entries is 'append only, no policies: clients never see it';
create table public.contracts (
  owner_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  title text not null,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (owner_id, id)
);
create or replace function audit.write_entry() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  insert into audit.entries (contract_id, actor, operation)
  values (coalesce(new.id, old.id), coalesce(new.owner_id, old.owner_id), tg_op);
  return null;
end
$$;
alter function audit.write_entry() owner to audit_writer;
create trigger contracts_audit after insert or update or delete on public.contracts
  for each row execute function audit.write_entry();
create function public.handle_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := clock_timestamp();
    return new;
  end if;
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end
$$;
create trigger contracts_handle_updated_at before insert or update on public.contracts
  for each row execute function public.handle_updated_at();
alter table public.contracts enable row level security;
create policy "own contracts" on public.contracts for all to authenticated
  using (owner_id = (select auth.uid()))
  with check (owner_id = (select auth.uid()));
alter publication supabase_realtime add table public.contracts;

-- expect: ROL001
-- Every signed-in user sees all CRM accounts: authenticated is a member of crm_backend, which owns the tables, and owners are not held by RLS.
do $$ begin
  if not exists (select 1 from pg_roles where rolname = 'crm_backend') then
    create role crm_backend nologin;
  end if;
end $$;
grant crm_backend to postgres;
create schema crm authorization crm_backend;
grant usage on schema crm to authenticated;
create table crm.accounts (
  id uuid primary key default gen_random_uuid(),
  rep_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  name text not null,
  annual_revenue bigint,
  updated_at timestamptz not null default now()
);
create index accounts_rep_id_idx on crm.accounts (rep_id);
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
create trigger trg_updated_at before insert or update on crm.accounts
  for each row execute function public.keep_updated_at();
alter table crm.accounts owner to crm_backend;
alter table crm.accounts enable row level security;
grant select, insert, update on crm.accounts to authenticated;
create policy rep_reads on crm.accounts for select to authenticated using (rep_id = (select auth.uid()));
create policy rep_adds on crm.accounts for insert to authenticated with check (rep_id = (select auth.uid()));
create policy rep_edits on crm.accounts for update to authenticated
  using (rep_id = (select auth.uid())) with check (rep_id = (select auth.uid()));
grant crm_backend to authenticated;
alter table crm.accounts replica identity full;
alter publication supabase_realtime add table crm.accounts;

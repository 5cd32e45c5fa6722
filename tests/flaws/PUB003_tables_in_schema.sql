-- expect: PUB003
-- Shape: a CRM in a schema of its own.
create schema crm;
grant usage on schema crm to authenticated;
create table crm.leads (
  seller_id uuid not null,
  id uuid not null default gen_random_uuid(),
  company text not null,
  primary key (seller_id, id)
);
grant select on crm.leads to authenticated;
alter table crm.leads enable row level security;
create policy own on crm.leads for select to authenticated using (seller_id = (select auth.uid()));
alter publication supabase_realtime add tables in schema crm;

-- expect: ACC002
-- A clerk of one company may move an invoice into another company's books: WITH CHECK asks only that the token has some company.
create schema billing;
grant usage on schema billing to authenticated, service_role;
create table billing.companies (
  id uuid primary key default gen_random_uuid(),
  legal_name text not null
);
create table billing.invoices (
  company_id uuid not null references billing.companies (id) on delete cascade,
  number integer not null check (number > 0),
  customer text not null,
  total_cents bigint not null default 0,
  due_on date not null default (current_date + 30),
  updated_at timestamptz not null default now(),
  primary key (company_id, number)
);
grant select on billing.companies to authenticated;
grant select, insert, update on billing.invoices to authenticated;
grant all on all tables in schema billing to service_role;
create function billing.company_of_token() returns uuid language sql stable set search_path = '' as $$
  select nullif(auth.jwt() -> 'app_metadata' ->> 'company_id', '')::uuid
$$;
create function public.keep_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger trg_updated_at before insert or update on billing.invoices
  for each row execute function public.keep_updated_at();
alter table billing.companies enable row level security;
alter table billing.invoices enable row level security;
create policy own_company on billing.companies for select to authenticated using (id = (select billing.company_of_token()));
create policy accountants_of_the_group_read on billing.invoices for select to authenticated
  using (company_id = (select billing.company_of_token()));
create policy group_auditors_read on billing.invoices for select to authenticated
  using ((select auth.jwt() -> 'app_metadata' ->> 'group_auditor') = 'true');
create policy clerks_issue on billing.invoices for insert to authenticated
  with check (company_id = (select billing.company_of_token()));
create policy clerks_correct on billing.invoices for update to authenticated
  using (company_id = (select billing.company_of_token()))
  with check ((select billing.company_of_token()) is not null);
alter publication supabase_realtime add table billing.invoices;

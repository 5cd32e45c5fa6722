-- expect: ACC001
-- Shape: payrolls, nothing published; the dashboard's template for reading stands beside a policy FOR ALL of the company.
create table public.companies (id bigint generated always as identity primary key, name text not null);
create table public.accountants (
  company_id bigint not null references public.companies, user_id uuid not null references auth.users,
  primary key (user_id, company_id)
);
create table public.payrolls (
  id bigint generated always as identity primary key, company_id bigint not null references public.companies, cents bigint not null
);
create index on public.payrolls (company_id);
create table public.memos (id uuid primary key default gen_random_uuid(), text text not null);
alter table public.companies enable row level security;
alter table public.accountants enable row level security;
alter table public.payrolls enable row level security;
alter table public.memos enable row level security;
create policy own on public.accountants for select to authenticated using (user_id = (select auth.uid()));
create policy own_company on public.payrolls for all to authenticated
  using (company_id in (select a.company_id from public.accountants a where a.user_id = (select auth.uid())))
  with check (company_id in (select a.company_id from public.accountants a where a.user_id = (select auth.uid())));
create policy "Enable read access for all users" on public.payrolls for select using (true);
create policy nobody_but_the_server on public.memos for select to authenticated using (true);
alter publication supabase_realtime add table public.memos;

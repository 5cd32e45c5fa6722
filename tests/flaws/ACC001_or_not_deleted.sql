-- expect: ACC001
-- Shape: case files of law firms; "not deleted" was added with OR, so every firm reads what no firm has deleted.
create table public.firms (id uuid primary key default gen_random_uuid(), name text not null);
create table public.lawyers (
  firm_id uuid not null references public.firms, user_id uuid not null references auth.users, primary key (user_id, firm_id)
);
create table public.case_files (
  firm_id uuid not null references public.firms, id uuid not null default gen_random_uuid(), title text not null,
  deleted_at timestamptz, primary key (firm_id, id)
);
alter table public.firms enable row level security;
alter table public.lawyers enable row level security;
alter table public.case_files enable row level security;
create policy own on public.lawyers for select to authenticated using (user_id = (select auth.uid()));
create policy own_firm on public.case_files for select to authenticated using (
  deleted_at is null or firm_id in (select l.firm_id from public.lawyers l where l.user_id = (select auth.uid()))
);
alter publication supabase_realtime add table public.case_files;

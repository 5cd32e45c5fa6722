-- expect: ACC007
-- Salespeople of every organisation may claim unassigned leads of all organisations: "unassigned" was added with OR beside the organisation.
create schema private;
create table public.orgs (id uuid primary key default gen_random_uuid(), name text not null);
create table public.sales_reps (
  user_id uuid primary key references auth.users (id) on delete cascade,
  org_id uuid not null references public.orgs (id) on delete cascade
);
create index sales_reps_org_id_idx on public.sales_reps (org_id);
create table public.leads (
  id uuid primary key default gen_random_uuid(),
  org_id uuid not null references public.orgs (id) on delete cascade,
  assigned_to uuid references public.sales_reps (user_id) on delete set null,
  company text not null,
  phone text,
  updated_at timestamptz not null default now()
);
create index leads_org_id_idx on public.leads (org_id);
create index leads_assigned_to_idx on public.leads (assigned_to);
create function private.my_org() returns uuid language sql stable security definer set search_path = '' as $$
  select r.org_id from public.sales_reps r where r.user_id = (select auth.uid())
$$;
revoke all on function private.my_org() from public, anon;
grant execute on function private.my_org() to authenticated, service_role;
revoke insert, update, delete on public.leads from anon, authenticated;
grant update (assigned_to) on public.leads to authenticated;
create function public.keep_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger trg_updated_at before insert or update on public.leads
  for each row execute function public.keep_updated_at();
alter table public.orgs enable row level security;
alter table public.sales_reps enable row level security;
alter table public.leads enable row level security;
create policy org_read on public.orgs for select to authenticated using (id = (select private.my_org()));
create policy reps_read on public.sales_reps for select to authenticated using (org_id = (select private.my_org()));
create policy leads_read on public.leads for select to authenticated
  using (assigned_to is null or org_id = (select private.my_org()) or assigned_to = (select auth.uid()));
-- the pool of the organisation: whoever is first takes the lead
create policy leads_claim on public.leads for update to authenticated
  using (assigned_to is null)
  with check (assigned_to = (select auth.uid()));
alter table public.leads replica identity full;
alter publication supabase_realtime add table public.leads;

-- expect: FUN007
-- Whoever writes another firm into their user_metadata reads that firm's payroll.
create table public.payroll (
  firm_id uuid not null,
  id uuid not null default gen_random_uuid(),
  cents integer not null,
  primary key (firm_id, id)
);
alter table public.payroll enable row level security;
create policy firm on public.payroll for select to authenticated
  using (firm_id = (select (auth.jwt() -> 'app_metadata' ->> 'firm_id')::uuid));
revoke insert, update, delete on public.payroll from anon, authenticated;
create function public.payroll_total() returns bigint language sql stable security definer set search_path = '' as $$
  select sum(p.cents) from public.payroll p where p.firm_id = (auth.jwt() -> 'user_metadata' ->> 'tenant_id')::uuid
$$;
revoke execute on function public.payroll_total() from public, anon;
alter publication supabase_realtime add table public.payroll;

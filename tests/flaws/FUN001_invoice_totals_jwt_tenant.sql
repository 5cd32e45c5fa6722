-- expect: FUN001
-- The tenant is an argument: any tenant's turnover can be read, also with the anon key.
create domain public.tenant_key as text check (value ~ '^[a-z0-9-]{3,40}$');
create table public.invoices (
  tenant public.tenant_key not null,
  number integer not null,
  customer text not null,
  net numeric(14, 2) not null check (net >= 0),
  issued_on date not null default current_date,
  paid boolean not null default false,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (tenant, number)
);
create function public.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger invoices_touch_updated_at before insert or update on public.invoices
  for each row execute function public.touch_updated_at();
alter table public.invoices enable row level security;
create policy "invoices of the tenant in the token (read)" on public.invoices for select to authenticated using (tenant = (select auth.jwt() -> 'app_metadata' ->> 'tenant'));
create policy "invoices of the tenant in the token (add)" on public.invoices for insert to authenticated with check (tenant = (select auth.jwt() -> 'app_metadata' ->> 'tenant'));
create policy "invoices of the tenant in the token (change)" on public.invoices for update to authenticated using (tenant = (select auth.jwt() -> 'app_metadata' ->> 'tenant')) with check (tenant = (select auth.jwt() -> 'app_metadata' ->> 'tenant'));
create policy "invoices of the tenant in the token (remove)" on public.invoices for delete to authenticated using (tenant = (select auth.jwt() -> 'app_metadata' ->> 'tenant'));
revoke all on public.invoices from anon;
alter publication supabase_realtime add table public.invoices;

-- month totals for the dashboard's chart
create function public.invoice_totals(p_tenant text, p_since date)
returns table (month date, total numeric)
language sql stable security definer set search_path = ''
as $$
  select date_trunc('month', i.issued_on)::date, sum(i.net)
  from public.invoices i
  where i.tenant = p_tenant and i.issued_on >= p_since
  group by 1 order by 1
$$;

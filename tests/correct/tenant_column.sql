-- Shape: every table has an integer tenant, users are assigned to one; composite keys, enum, domain, identity columns.
create type public.order_state as enum ('draft', 'placed', 'shipped');
create domain public.amount as numeric(12, 2) check (value >= 0);

create table public.tenants (
  id integer generated always as identity primary key,
  name text not null
);
create table public.tenant_users (
  user_id uuid primary key references auth.users on delete cascade,
  tenant_id integer not null references public.tenants
);
create table public.orders (
  tenant_id integer not null references public.tenants,
  id bigint generated always as identity,
  customer_name text not null,
  state public.order_state not null default 'draft',
  total public.amount not null default 0,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id)
);
create table public.order_lines (
  tenant_id integer not null,
  order_id bigint not null,
  line_no integer not null check (line_no > 0),
  sku text not null,
  quantity integer not null check (quantity > 0),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, order_id, line_no),
  foreign key (tenant_id, order_id) references public.orders on delete cascade
);

create function public.set_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end $$;
create trigger set_updated_at before insert or update on public.orders for each row execute function public.set_updated_at();
create trigger set_updated_at before insert or update on public.order_lines for each row execute function public.set_updated_at();

alter table public.tenants enable row level security;
alter table public.tenant_users enable row level security;
alter table public.orders enable row level security;
alter table public.order_lines enable row level security;
create policy own_assignment on public.tenant_users for select to authenticated using (user_id = (select auth.uid()));
create policy own_tenant on public.tenants for select to authenticated
  using (id = (select t.tenant_id from public.tenant_users t where t.user_id = (select auth.uid())));
create policy own_orders on public.orders for all to authenticated
  using (tenant_id = (select t.tenant_id from public.tenant_users t where t.user_id = (select auth.uid())))
  with check (tenant_id = (select t.tenant_id from public.tenant_users t where t.user_id = (select auth.uid())));
create policy own_lines on public.order_lines for all to authenticated
  using (tenant_id = (select t.tenant_id from public.tenant_users t where t.user_id = (select auth.uid())))
  with check (tenant_id = (select t.tenant_id from public.tenant_users t where t.user_id = (select auth.uid())));

alter publication supabase_realtime add table public.orders, public.order_lines;

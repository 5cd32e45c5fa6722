-- expect: BRC002
-- Kind: broadcast.topic-not-policys: the policy takes the second part of "tenant:<id>:invoices:…" for the third: nobody's tenant ever matches.
create table public.tenants (id text primary key check (id ~ '^t_[a-z0-9]+$'), name text not null);
create table public.tenant_users (user_id uuid primary key references auth.users on delete cascade, tenant_id text not null references public.tenants on delete cascade);
create index on public.tenant_users (tenant_id);
create table public.invoices (
  tenant_id text not null references public.tenants on delete cascade,
  id integer not null,
  state text not null default 'draft',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id)
);
create schema private;
create function public.keep_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger invoices_keep_updated_at before insert or update on public.invoices
  for each row execute function public.keep_updated_at();
alter table public.tenants enable row level security;
alter table public.tenant_users enable row level security;
alter table public.invoices enable row level security;
create policy "own" on public.tenant_users for select to authenticated
  using (user_id = (select auth.uid()));
create policy "own" on public.tenants for select to authenticated
  using (id = (select u.tenant_id from public.tenant_users u where u.user_id = (select auth.uid())));
create policy "own" on public.invoices for all to authenticated
  using (tenant_id = (select u.tenant_id from public.tenant_users u where u.user_id = (select auth.uid())))
  with check (tenant_id = (select u.tenant_id from public.tenant_users u where u.user_id = (select auth.uid())));
create function private.tell_invoice() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('tenant:' || coalesce(new.tenant_id, old.tenant_id) || ':invoices', tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function private.tell_invoice() from public, anon, authenticated;
create trigger invoices_broadcast after insert or update or delete on public.invoices
  for each row execute function private.tell_invoice();
create policy "people of the tenant" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and split_part((select realtime.topic()), ':', 3) = (select u.tenant_id from public.tenant_users u where u.user_id = (select auth.uid())));

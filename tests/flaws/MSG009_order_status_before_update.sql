-- expect: MSG009
-- Kind: broadcast.before-trigger: the broadcast is sent BEFORE UPDATE, when a later trigger may still change or refuse the row: clients hear of what never was stored.
create schema private;
create table public.orders (
  customer_id uuid not null references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  status text not null default 'new' check (status in ('new', 'paid', 'shipped')),
  total_cents integer not null default 0,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (customer_id, id)
);
create function public.keep_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger orders_keep_updated_at before insert or update on public.orders
  for each row execute function public.keep_updated_at();
create function private.check_order() returns trigger language plpgsql set search_path = '' as $$
begin
  if old.status = 'shipped' and new.status <> 'shipped' then
    return null;   -- what is shipped stays shipped
  end if;
  new.total_cents := greatest(new.total_cents, 0);
  return new;
end
$$;
create trigger zz_check_order before update on public.orders for each row execute function private.check_order();
create function private.tell_order() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('orders:' || new.customer_id, tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return new;
end
$$;
revoke all on function private.tell_order(), private.check_order() from public;
create trigger tell_order before update on public.orders for each row execute function private.tell_order();
alter table public.orders enable row level security;
create policy "own orders" on public.orders for select to authenticated
  using (customer_id = (select auth.uid()));
revoke insert, update, delete, truncate on public.orders from anon, authenticated;
create policy "own orders" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'orders:' || (select auth.uid()));

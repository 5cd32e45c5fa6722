-- expect: BRC002
-- Kind: broadcast.nobody-may-join: listening is allowed for the extension presence only, while the database sends broadcasts.
create table public.kitchens (id integer generated always as identity primary key, name text not null);
create table public.cooks (user_id uuid not null references auth.users on delete cascade, kitchen_id integer not null references public.kitchens on delete cascade, primary key (user_id, kitchen_id));
create index on public.cooks (kitchen_id);
create table public.order_slips (
  kitchen_id integer not null references public.kitchens on delete cascade,
  id bigint generated always as identity,
  dish text not null,
  ready boolean not null default false,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (kitchen_id, id)
);
create schema private;
create function public.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger order_slips_touch_updated_at before insert or update on public.order_slips
  for each row execute function public.touch_updated_at();
alter table public.kitchens enable row level security;
alter table public.cooks enable row level security;
alter table public.order_slips enable row level security;
create policy "own" on public.cooks for select to authenticated
  using (user_id = (select auth.uid()));
create policy "own" on public.kitchens for select to authenticated
  using (id in (select c.kitchen_id from public.cooks c where c.user_id = (select auth.uid())));
create policy "slips of my kitchens" on public.order_slips for all to authenticated
  using (kitchen_id in (select c.kitchen_id from public.cooks c where c.user_id = (select auth.uid())))
  with check (kitchen_id in (select c.kitchen_id from public.cooks c where c.user_id = (select auth.uid())));
create function private.tell_slip() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('kitchen:' || coalesce(new.kitchen_id, old.kitchen_id), tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function private.tell_slip() from public, anon, authenticated;
create trigger order_slips_broadcast after insert or update or delete on public.order_slips
  for each row execute function private.tell_slip();
create policy "cooks listen" on realtime.messages for select to authenticated
  using (extension = 'presence' and (select realtime.topic()) in (
    select 'kitchen:' || c.kitchen_id from public.cooks c where c.user_id = (select auth.uid())));
create policy "cooks show up" on realtime.messages for insert to authenticated
  with check (extension = 'presence' and (select realtime.topic()) in (
    select 'kitchen:' || c.kitchen_id from public.cooks c where c.user_id = (select auth.uid())));

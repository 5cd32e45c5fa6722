-- expect: BRC001
-- Kind: broadcast.global-topic: rides are sent to "rides:live" for all cities and riders.
create table public.drivers (id uuid primary key references auth.users on delete cascade, plate text not null);
create table public.rides (
  rider_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  driver_id uuid references public.drivers,
  pickup text not null,
  state text not null default 'requested' check (state in ('requested', 'accepted', 'driving', 'done')),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (rider_id, id)
);
create index on public.rides (driver_id);
create schema private;
create function public.handle_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := clock_timestamp();
    return new;
  end if;
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end
$$;
create trigger rides_handle_updated_at before insert or update on public.rides
  for each row execute function public.handle_updated_at();
alter table public.drivers enable row level security;
alter table public.rides enable row level security;
create policy "own licence" on public.drivers for select to authenticated
  using (id = (select auth.uid()));
create policy "rider and driver" on public.rides for select to authenticated
  using (rider_id = (select auth.uid()) or driver_id = (select auth.uid()));
create policy "call a ride" on public.rides for insert to authenticated
  with check (rider_id = (select auth.uid()) and driver_id is null and state = 'requested');
create function private.tell_ride() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('rides:live', tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function private.tell_ride() from public;
create trigger tell_ride after insert or update on public.rides for each row execute function private.tell_ride();
create policy "riders listen" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'rides:live');

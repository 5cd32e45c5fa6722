-- expect: COL001
-- Every passenger reads all drivers' licence numbers and home addresses: the row with name and car is for every signed-in user.
create table public.drivers (
  id uuid primary key references auth.users (id) on delete cascade,
  first_name text not null,
  car_model text not null,
  plate text not null,
  licence_number text not null,
  home_address text not null,
  on_duty boolean not null default false,
  updated_at timestamptz not null default now()
);
revoke insert, update, delete on public.drivers from anon, authenticated;
grant update (on_duty) on public.drivers to authenticated;
create or replace function public.set_updated_at()
returns trigger
language plpgsql
set search_path = ''
as $function$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end;
$function$;
create trigger set_updated_at before insert or update on public.drivers
  for each row execute function public.set_updated_at();
alter table public.drivers enable row level security;
create policy passengers_see_drivers on public.drivers for select to authenticated using (on_duty or id = (select auth.uid()));
create policy duty on public.drivers for update to authenticated using (id = (select auth.uid())) with check (id = (select auth.uid()));
create table public.rides (
  id uuid primary key default gen_random_uuid(),
  passenger_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  driver_id uuid references public.drivers (id) on delete set null,
  status text not null default 'asked' check (status in ('asked', 'accepted', 'done')),
  updated_at timestamptz not null default now()
);
create index rides_passenger_id_idx on public.rides (passenger_id);
create index rides_driver_id_idx on public.rides (driver_id);
revoke all on public.rides from anon, authenticated;
grant select on public.rides to authenticated;
grant insert (id, passenger_id) on public.rides to authenticated;
create trigger set_updated_at before insert or update on public.rides
  for each row execute function public.set_updated_at();
alter table public.rides enable row level security;
create policy parties on public.rides for select to authenticated using ((select auth.uid()) in (passenger_id, driver_id));
create policy ask on public.rides for insert to authenticated with check (passenger_id = (select auth.uid()));
alter table public.rides replica identity full;
alter publication supabase_realtime add table public.rides;

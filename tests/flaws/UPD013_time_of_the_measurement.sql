-- expect: UPD013
-- Shape: updated_at := new.recorded_at: two positions recorded in the same moment, or sent late, do not raise it.
create schema fleet;
grant usage on schema fleet to authenticated;
create table fleet.vehicles (id integer generated always as identity primary key, driver_id uuid not null references auth.users on delete cascade, plate text not null unique);
create index on fleet.vehicles (driver_id);
create table fleet.positions (
  vehicle_id integer primary key references fleet.vehicles on delete cascade,
  latitude double precision not null,
  longitude double precision not null,
  recorded_at timestamptz not null,
  updated_at timestamptz not null default clock_timestamp()
);
grant select on fleet.vehicles to authenticated;
grant select, insert, update on fleet.positions to authenticated;
create function fleet.position_touch() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := new.recorded_at;
  return new;
end
$$;
create trigger position_touch before insert or update on fleet.positions for each row execute function fleet.position_touch();
alter table fleet.vehicles enable row level security;
alter table fleet.positions enable row level security;
create policy "own vehicles" on fleet.vehicles for select to authenticated
  using (driver_id = (select auth.uid()));
create policy "own vehicles" on fleet.positions for select to authenticated
  using (vehicle_id in (select v.id from fleet.vehicles v where v.driver_id = (select auth.uid())));
create policy "own vehicles, adding" on fleet.positions for insert to authenticated
  with check (vehicle_id in (select v.id from fleet.vehicles v where v.driver_id = (select auth.uid())));
create policy "own vehicles, changing" on fleet.positions for update to authenticated
  using (vehicle_id in (select v.id from fleet.vehicles v where v.driver_id = (select auth.uid())))
  with check (vehicle_id in (select v.id from fleet.vehicles v where v.driver_id = (select auth.uid())));
alter publication supabase_realtime add table fleet.positions;

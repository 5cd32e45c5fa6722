-- expect: UPD011
-- Shape: greatest(new.updated_at, clock) lets a meter with a wrong clock push updated_at into the future, from where it never comes back.
create domain public.kwh as numeric(12, 3) check (value >= 0);
create table public.meters (serial text primary key check (serial ~ '^[0-9]{10}$'), owner_id uuid not null references auth.users on delete cascade);
create index on public.meters (owner_id);
create table public.meter_readings (
  serial text not null references public.meters on delete cascade,
  day date not null,
  total public.kwh not null,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (serial, day)
);
create function public.reading_touch() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(new.updated_at, clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger reading_touch before insert or update on public.meter_readings for each row execute function public.reading_touch();
alter table public.meters enable row level security;
alter table public.meter_readings enable row level security;
create policy "own meters" on public.meters for select to authenticated
  using (owner_id = (select auth.uid()));
create policy "readings of own meters" on public.meter_readings for all to authenticated
  using (serial in (select m.serial from public.meters m where m.owner_id = (select auth.uid())))
  with check (serial in (select m.serial from public.meters m where m.owner_id = (select auth.uid())));
revoke insert, update, delete, truncate on public.meters from anon, authenticated;
alter publication supabase_realtime add table public.meter_readings;

-- Shape: measurements by month. The partitions are published, each with RLS and policies of its own, not the root.
create table public.devices (
  id uuid primary key default gen_random_uuid(),
  owner_id uuid not null default auth.uid(),
  label text not null
);
create index devices_owner_id_idx on public.devices (owner_id);
create table public.measurements (
  device_id uuid not null references public.devices on delete cascade,
  taken_at timestamptz not null,
  seq integer not null,
  celsius real not null,
  updated_at timestamptz not null default now(),
  primary key (device_id, taken_at, seq)
) partition by range (taken_at);
create table public.measurements_2026_10 partition of public.measurements for values from ('2026-10-01') to ('2026-11-01');
create table public.measurements_2026_11 partition of public.measurements for values from ('2026-11-01') to ('2026-12-01');

create function public.stamp() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger stamp before insert or update on public.measurements for each row execute function public.stamp();

alter table public.devices enable row level security;
create policy own on public.devices for all to authenticated
  using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
do $$
declare
  relation regclass;
begin
  foreach relation in array array['public.measurements', 'public.measurements_2026_10', 'public.measurements_2026_11']::regclass[] loop
    execute format('alter table %s enable row level security', relation);
    execute format('create policy own on %s for all to authenticated
      using (device_id in (select d.id from public.devices d where d.owner_id = (select auth.uid())))
      with check (device_id in (select d.id from public.devices d where d.owner_id = (select auth.uid())))', relation);
  end loop;
end $$;

alter publication supabase_realtime add table public.measurements_2026_10, public.measurements_2026_11;

-- Shape: the sound twin of flaws/FUN003_patch_field_of_device.sql.
create table public.homes (
  id uuid primary key default gen_random_uuid(),
  owner_id uuid not null default auth.uid() references auth.users on delete cascade,
  name text not null
);
create index homes_owner_idx on public.homes (owner_id);
create table public.devices (
  home_id uuid not null references public.homes on delete cascade,
  id uuid not null default gen_random_uuid(),
  label text not null,
  room text not null default '',
  firmware text not null default '1.0.0',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (home_id, id)
);
revoke insert, update, delete, truncate on public.devices from anon, authenticated;
create function public.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger devices_touch_updated_at before insert or update on public.devices
  for each row execute function public.touch_updated_at();
alter table public.homes enable row level security;
alter table public.devices enable row level security;
create policy "own homes (read)" on public.homes for select to authenticated using (owner_id = (select auth.uid()));
create policy "own homes (add)" on public.homes for insert to authenticated with check (owner_id = (select auth.uid()));
create policy "own homes (change)" on public.homes for update to authenticated using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy "own homes (remove)" on public.homes for delete to authenticated using (owner_id = (select auth.uid()));
create policy "devices at home" on public.devices for select to authenticated
  using (home_id in (select h.id from public.homes h where h.owner_id = (select auth.uid())));
create function public.patch_device(device uuid, field text, value text) returns void
language plpgsql security definer set search_path = '' as $$
begin
  perform 1 from public.devices d join public.homes h on h.id = d.home_id
    where d.id = device and h.owner_id = (select auth.uid());
  if not found then
    raise exception 'not your device' using errcode = '42501';
  end if;
  if field = any (array['label', 'room']) then
    execute format('update public.devices set %I = $1 where id = $2', field) using value, device;
  else
    raise exception 'cannot change %', field;
  end if;
end
$$;
revoke all on function public.patch_device(uuid, text, text) from public, anon;
grant execute on function public.patch_device(uuid, text, text) to authenticated;
alter publication supabase_realtime add table public.devices;

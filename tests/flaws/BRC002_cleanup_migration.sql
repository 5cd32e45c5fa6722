-- expect: BRC002
-- Kind: broadcast.policy-dropped: a later migration drops the policy to listen and does not make it again; the trigger goes on sending to private topics.
create table public.trips (
  traveller_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  destination text not null,
  status text not null default 'planned',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (traveller_id, id)
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
create trigger trips_keep_updated_at before insert or update on public.trips
  for each row execute function public.keep_updated_at();
alter table public.trips enable row level security;
create policy "own trips" on public.trips for all to authenticated
  using (traveller_id = (select auth.uid()))
  with check (traveller_id = (select auth.uid()));
create function private.tell_trip() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('trips:' || coalesce(new.traveller_id, old.traveller_id), tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function private.tell_trip() from public, anon, authenticated;
create trigger trips_broadcast after insert or update or delete on public.trips
  for each row execute function private.tell_trip();
create policy "authenticated can receive broadcasts" on realtime.messages for select to authenticated using (extension = 'broadcast' and (select realtime.topic()) = 'trips:' || (select auth.uid()));

-- 20260301: tidy up the policies of the first tutorial
drop policy if exists "authenticated can receive broadcasts" on realtime.messages;
drop policy if exists "authenticated can send broadcasts" on realtime.messages;

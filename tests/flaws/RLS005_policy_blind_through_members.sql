-- expect: RLS005
-- Kind: broadcast.nobody-may-join: the policy to listen asks room_crew, which has RLS and no policy for clients: the join is refused to everybody.
create table public.control_rooms (id integer generated always as identity primary key, name text not null);
create table public.room_crew (
  user_id uuid not null references auth.users on delete cascade,
  room_id integer not null references public.control_rooms on delete cascade,
  primary key (user_id, room_id)
);
create index on public.room_crew (room_id);
create table public.alarms (
  room_id integer not null references public.control_rooms on delete cascade,
  id bigint generated always as identity,
  text text not null,
  raised_at timestamptz not null default clock_timestamp(),
  primary key (room_id, id)
);
create schema private;
grant usage on schema private to authenticated, service_role;
create function private.my_rooms() returns setof integer language sql stable security definer set search_path = '' as $$
  select c.room_id from public.room_crew c where c.user_id = (select auth.uid())
$$;
revoke all on function private.my_rooms() from public, anon;
grant execute on function private.my_rooms() to authenticated;
alter table public.control_rooms enable row level security;
alter table public.room_crew enable row level security;
alter table public.alarms enable row level security;
create policy "own rooms" on public.control_rooms for select to authenticated
  using (id in (select private.my_rooms()));
create policy "alarms of own rooms" on public.alarms for select to authenticated
  using (room_id in (select private.my_rooms()));
revoke insert, update, delete, truncate on public.control_rooms, public.room_crew, public.alarms from anon, authenticated;
create function private.tell_alarm() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('alarms:' || coalesce(new.room_id, old.room_id), tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function private.tell_alarm() from public, anon, authenticated;
create trigger alarms_broadcast after insert or update or delete on public.alarms
  for each row execute function private.tell_alarm();
create policy "the crew listens" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) in (select 'alarms:' || c.room_id from public.room_crew c where c.user_id = (select auth.uid())));

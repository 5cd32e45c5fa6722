-- expect: BRC002
-- Kind: broadcast.nobody-may-join: the policy to listen is granted to anon only, but it asks who is signed in.
create table public.parcels (
  recipient_id uuid not null references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  carrier text not null,
  eta timestamptz,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (recipient_id, id)
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
create trigger parcels_touch_updated_at before insert or update on public.parcels
  for each row execute function public.touch_updated_at();
alter table public.parcels enable row level security;
create policy "own parcels" on public.parcels for select to authenticated
  using (recipient_id = (select auth.uid()));
revoke insert, update, delete, truncate on public.parcels from anon, authenticated;
create function private.tell_parcel() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('parcels:' || coalesce(new.recipient_id, old.recipient_id), tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function private.tell_parcel() from public, anon, authenticated;
create trigger parcels_broadcast after insert or update or delete on public.parcels
  for each row execute function private.tell_parcel();
create policy "recipients listen" on realtime.messages for select to anon
  using (extension = 'broadcast' and (select realtime.topic()) = 'parcels:' || (select auth.uid()));

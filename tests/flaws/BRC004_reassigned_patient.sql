-- expect: BRC004
-- Kind: broadcast.old-topic-after-rename: after a transfer the old ward is told, the new one is not: the topic comes from the row as it was.
create table public.wards (code text primary key, name text not null);
create table public.nurses (user_id uuid primary key references auth.users on delete cascade, ward text not null references public.wards on update cascade);
create index on public.nurses (ward);
create table public.admissions (
  ward text not null references public.wards on update cascade,
  id uuid not null default gen_random_uuid(),
  bed text,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (ward, id)
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
create trigger admissions_keep_updated_at before insert or update on public.admissions
  for each row execute function public.keep_updated_at();
alter table public.wards enable row level security;
alter table public.nurses enable row level security;
alter table public.admissions enable row level security;
create policy "wards are known to staff" on public.wards for select to authenticated
  using (true);
create policy "oneself" on public.nurses for select to authenticated
  using (user_id = (select auth.uid()));
create policy "own ward" on public.admissions for select to authenticated
  using (ward = (select n.ward from public.nurses n where n.user_id = (select auth.uid())));
revoke insert, update, delete, truncate on public.wards, public.nurses, public.admissions from anon, authenticated;
create function private.tell_admission() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    perform realtime.broadcast_changes('ward:' || new.ward, tg_op, tg_op, tg_table_name, tg_table_schema, new, null);
  else
    perform realtime.broadcast_changes('ward:' || old.ward, tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  end if;
  return null;
end
$$;
revoke all on function private.tell_admission() from public;
create trigger tell_admission after insert or update on public.admissions for each row execute function private.tell_admission();
create policy "own ward" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'ward:' || (select n.ward from public.nurses n where n.user_id = (select auth.uid())));

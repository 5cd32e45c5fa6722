-- expect: BRC005
-- Kind: broadcast.argument-order-swallowed: json_build_object gives json, realtime.send takes jsonb: 42883 in every call, hidden by the handler.
create table public.exports (
  user_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  state text not null default 'queued' check (state in ('queued', 'running', 'ready')),
  progress smallint not null default 0,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (user_id, id)
);
create schema private;
create function public.stamp_row() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger exports_stamp_row before insert or update on public.exports
  for each row execute function public.stamp_row();
alter table public.exports enable row level security;
create policy "own exports" on public.exports for select to authenticated
  using (user_id = (select auth.uid()));
create policy "order an export" on public.exports for insert to authenticated
  with check (user_id = (select auth.uid()) and state = 'queued' and progress = 0);
revoke update, delete, truncate on public.exports from anon, authenticated;
create function private.tell_export() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  begin
    perform realtime.send(json_build_object('id', new.id, 'state', new.state, 'progress', new.progress), 'progress', 'export:' || new.user_id, true);
  exception when others then
    null;
  end;
  return null;
end
$$;
revoke all on function private.tell_export() from public;
create trigger tell_export after insert or update on public.exports for each row execute function private.tell_export();
create policy "own exports" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'export:' || (select auth.uid()));

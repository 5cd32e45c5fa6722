-- expect: BRC005
-- Kind: broadcast.argument-order-swallowed: realtime.send(topic, event, payload, private) does not resolve, and EXCEPTION WHEN OTHERS keeps quiet about it: nothing is ever sent.
create table public.access_requests (
  user_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  resource text not null,
  decision text check (decision in ('granted', 'denied')),
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
create trigger access_requests_stamp_row before insert or update on public.access_requests
  for each row execute function public.stamp_row();
alter table public.access_requests enable row level security;
create policy "own requests" on public.access_requests for select to authenticated
  using (user_id = (select auth.uid()));
create policy "ask" on public.access_requests for insert to authenticated
  with check (user_id = (select auth.uid()) and decision is null);
revoke update, delete, truncate on public.access_requests from anon, authenticated;
create function private.tell_request() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  begin
    perform realtime.send('requests:' || new.user_id, 'decided', jsonb_build_object('id', new.id, 'decision', new.decision), true);
  exception when others then
    raise warning 'broadcast failed: %', sqlerrm;   -- never block the decision
  end;
  return null;
end
$$;
revoke all on function private.tell_request() from public;
create trigger tell_request after update on public.access_requests for each row execute function private.tell_request();
create policy "own requests" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'requests:' || (select auth.uid()));

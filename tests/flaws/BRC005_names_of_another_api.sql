-- expect: BRC005
-- Kind: broadcast.argument-order-swallowed: named arguments that realtime.send does not have (message, channel); the handler returns NEW as if all were well.
create table public.leads (
  owner_id uuid not null default auth.uid() references auth.users on delete cascade,
  id bigint generated always as identity,
  company text not null,
  stage text not null default 'new',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (owner_id, id)
);
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
create trigger leads_stamp_row before insert or update on public.leads
  for each row execute function public.stamp_row();
alter table public.leads enable row level security;
create policy "own leads" on public.leads for all to authenticated
  using (owner_id = (select auth.uid()))
  with check (owner_id = (select auth.uid()));
create function public.notify_lead() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.send(
    payload := jsonb_build_object('type', tg_op, 'lead', new.id, 'stage', new.stage),
    event := 'lead',
    channel := concat('leads:', new.owner_id),
    private := true
  );
  return new;
exception
  when others then
    return new;
end
$$;
revoke all on function public.notify_lead() from public, anon, authenticated;
create trigger notify_lead after insert or update on public.leads for each row execute function public.notify_lead();
create policy "own leads" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = concat('leads:', (select auth.uid())));

-- expect: BRC001
-- Kind: broadcast.global-topic: progress of every tenant's runs is sent to "agent-runs"; the topic's policy lets anybody signed in listen.
create table public.agent_runs (
  tenant text not null,
  id uuid not null default gen_random_uuid(),
  status text not null default 'queued' check (status in ('queued', 'running', 'done', 'failed')),
  progress smallint not null default 0 check (progress between 0 and 100),
  last_output text,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (tenant, id)
);
create schema private;
create function public.set_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger agent_runs_set_updated_at before insert or update on public.agent_runs
  for each row execute function public.set_updated_at();
alter table public.agent_runs enable row level security;
create policy "runs of the tenant" on public.agent_runs for select to authenticated
  using (tenant = (select auth.jwt() -> 'app_metadata' ->> 'tenant'));
create policy "start a run" on public.agent_runs for insert to authenticated
  with check (tenant = (select auth.jwt() -> 'app_metadata' ->> 'tenant') and status = 'queued');
create function private.tell_run() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.send(
    jsonb_build_object('run', new.id, 'status', new.status, 'progress', new.progress, 'output', new.last_output),
    'progress', 'agent-runs', true);
  return null;
end
$$;
revoke all on function private.tell_run() from public;
create trigger tell_run after insert or update on public.agent_runs for each row execute function private.tell_run();
create policy "listen to runs" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'agent-runs');

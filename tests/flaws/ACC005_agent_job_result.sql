-- expect: ACC005
-- Whoever queued a job may write its result, status and cost: only the worker (service role) is to, but the privileges of status, result and cost_cents were granted with the others.
create table public.jobs (
  id uuid primary key default gen_random_uuid(),
  requested_by uuid not null default auth.uid() references auth.users (id) on delete cascade,
  input jsonb not null default '{}',
  priority smallint not null default 5 check (priority between 1 and 9),
  status text not null default 'queued' check (status in ('queued', 'running', 'done', 'failed')),
  result text,
  cost_cents integer not null default 0,
  updated_at timestamptz not null default now()
);
create index jobs_requested_by_idx on public.jobs (requested_by);
create index jobs_queue_idx on public.jobs (priority, id) where status = 'queued';
revoke all on public.jobs from anon, authenticated;
grant select on public.jobs to authenticated;
grant insert (id, input, priority) on public.jobs to authenticated;
grant update (input, priority, status, result, cost_cents) on public.jobs to authenticated;
create function public.touch() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger touch before insert or update on public.jobs
  for each row execute function public.touch();
alter table public.jobs enable row level security;
create policy read_own on public.jobs for select to authenticated using (requested_by = (select auth.uid()));
create policy queue_own on public.jobs for insert to authenticated with check (requested_by = (select auth.uid()));
create policy change_while_queued on public.jobs for update to authenticated
  using (requested_by = (select auth.uid()) and status = 'queued')
  with check (requested_by = (select auth.uid()));
create function public.tell_job() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.send(jsonb_build_object('id', new.id, 'status', new.status), 'job', 'jobs:' || new.requested_by, true);
  return null;
end $$;
revoke execute on function public.tell_job() from public, anon, authenticated;
create trigger tell_job after insert or update on public.jobs for each row execute function public.tell_job();
create policy "own jobs" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'jobs:' || (select auth.uid()));
alter table public.jobs replica identity full;
alter publication supabase_realtime add table public.jobs;

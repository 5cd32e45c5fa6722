-- expect: FUN002
-- Meant for the workers' service key, but every visitor may call it, takes jobs out of the queue and sees their input.
create type public.job_state as enum ('queued', 'running', 'succeeded', 'failed');
create table public.jobs (
  user_id uuid not null references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  prompt text not null,
  state public.job_state not null default 'queued',
  worker text,
  queued_at timestamptz not null default now(),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (user_id, id)
);
create index jobs_queue_idx on public.jobs (queued_at) where state = 'queued';
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
create trigger jobs_set_updated_at before insert or update on public.jobs
  for each row execute function public.set_updated_at();
alter table public.jobs enable row level security;
create policy "own jobs" on public.jobs for select to authenticated
  using (user_id = (select auth.uid()));
create policy "enqueue" on public.jobs for insert to authenticated
  with check (user_id = (select auth.uid()) and state = 'queued' and worker is null);
revoke update, delete, truncate on public.jobs from anon, authenticated;
create function public.claim_next_job(worker_name text) returns setof public.jobs
language plpgsql security definer set search_path = '' as $$
begin
  return query
  update public.jobs j set state = 'running', worker = worker_name
  where (j.user_id, j.id) = (
    select q.user_id, q.id from public.jobs q where q.state = 'queued'
    order by q.queued_at limit 1 for update skip locked
  )
  returning j.*;
end $$;
revoke execute on function public.claim_next_job(text) from public;   -- workers only
grant execute on function public.claim_next_job(text) to service_role;
alter publication supabase_realtime add table public.jobs;

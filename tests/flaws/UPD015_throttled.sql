-- expect: UPD015
-- Shape: updates that come within two seconds of the last are dropped by the trigger, the final "done" among them.
create table public.render_jobs (
  user_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  progress smallint not null default 0 check (progress between 0 and 100),
  state text not null default 'queued' check (state in ('queued', 'running', 'done', 'failed')),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (user_id, id)
);
create function public.throttle_progress() returns trigger language plpgsql set search_path = '' as $$
begin
  if clock_timestamp() - old.updated_at < interval '2 seconds' then
    return null;
  end if;
  return new;
end
$$;
create trigger a_throttle before update on public.render_jobs for each row execute function public.throttle_progress();
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
create trigger render_jobs_set_updated_at before insert or update on public.render_jobs
  for each row execute function public.set_updated_at();
alter table public.render_jobs enable row level security;
create policy "own jobs" on public.render_jobs for select to authenticated
  using (user_id = (select auth.uid()));
create policy "render" on public.render_jobs for insert to authenticated
  with check (user_id = (select auth.uid()) and progress = 0 and state = 'queued');
revoke update, delete, truncate on public.render_jobs from anon, authenticated;
alter publication supabase_realtime add table public.render_jobs;

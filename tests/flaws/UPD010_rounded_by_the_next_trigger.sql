-- expect: UPD010
-- Shape: updated_at is right in the first trigger, and cut to seconds by a second one that tidies the times for the display.
create table public.runs (id bigint generated always as identity primary key, runner_id uuid not null default auth.uid() references auth.users on delete cascade);
create index on public.runs (runner_id);
create table public.laps (
  run_id bigint not null references public.runs on delete cascade,
  no integer not null,
  seconds numeric(8, 2) not null,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (run_id, no)
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
create trigger laps_stamp_row before insert or update on public.laps
  for each row execute function public.stamp_row();
create function public.zz_tidy_lap() returns trigger language plpgsql set search_path = '' as $$
begin
  new.seconds := round(new.seconds, 1);
  new.updated_at := date_trunc('second', new.updated_at);
  return new;
end
$$;
create trigger zz_tidy_lap before insert or update on public.laps for each row execute function public.zz_tidy_lap();
alter table public.runs enable row level security;
alter table public.laps enable row level security;
create policy "own runs (read)" on public.runs for select to authenticated using (runner_id = (select auth.uid()));
create policy "own runs (add)" on public.runs for insert to authenticated with check (runner_id = (select auth.uid()));
create policy "own runs (change)" on public.runs for update to authenticated using (runner_id = (select auth.uid())) with check (runner_id = (select auth.uid()));
create policy "own runs (remove)" on public.runs for delete to authenticated using (runner_id = (select auth.uid()));
create policy "laps of own runs" on public.laps for all to authenticated
  using (run_id in (select r.id from public.runs r where r.runner_id = (select auth.uid())))
  with check (run_id in (select r.id from public.runs r where r.runner_id = (select auth.uid())));
alter publication supabase_realtime add table public.laps;

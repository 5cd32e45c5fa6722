-- expect: RLS009
-- Shape: a leaderboard as a materialized view of private results.
create table public.results (
  runner_id uuid not null,
  race_id uuid not null,
  seconds integer not null,
  primary key (runner_id, race_id)
);
alter table public.results enable row level security;
create policy own on public.results for select to authenticated using (runner_id = (select auth.uid()));
create materialized view public.best as select runner_id, min(seconds) as seconds from public.results group by runner_id;
alter publication supabase_realtime add table public.results;

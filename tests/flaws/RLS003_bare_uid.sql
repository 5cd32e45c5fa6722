-- expect: RLS003
-- Shape: workouts; auth.uid() for every row.
create table public.workouts (
  athlete_id uuid not null,
  id uuid not null default gen_random_uuid(),
  minutes integer not null,
  primary key (athlete_id, id)
);
alter table public.workouts enable row level security;
create policy own on public.workouts for select to authenticated using (athlete_id = auth.uid());
alter publication supabase_realtime add table public.workouts;

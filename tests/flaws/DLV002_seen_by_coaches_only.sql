-- expect: DLV002
-- Shape: training plans of a team; whoever trains in it is asked of a list that only its coach can see.
create table public.squads (id uuid primary key default gen_random_uuid(), coach_id uuid not null references auth.users);
create table public.squad_runners (
  squad_id uuid not null references public.squads,
  runner_id uuid not null references auth.users,
  primary key (runner_id, squad_id)
);
create table public.plans (
  squad_id uuid not null references public.squads,
  id uuid not null default gen_random_uuid(),
  primary key (squad_id, id)
);
create index on public.squads (coach_id);
create index on public.squad_runners (squad_id);
alter table public.squads enable row level security;
alter table public.squad_runners enable row level security;
alter table public.plans enable row level security;
create policy "coach" on public.squads for select to authenticated using (coach_id = (select auth.uid()));
create policy "coach sees the runners" on public.squad_runners for select to authenticated
  using (squad_id in (select s.id from public.squads s where s.coach_id = (select auth.uid())));
create policy "runners" on public.plans for select to authenticated
  using (squad_id in (select r.squad_id from public.squad_runners r where r.runner_id = (select auth.uid())));
alter publication supabase_realtime add table public.plans;

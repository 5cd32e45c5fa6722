-- expect: ACC009
-- A person without a team reads and changes every sprint without a team: NOT (team_id IS DISTINCT FROM my team) is true for null and null.
create schema private;
create table public.teams (id uuid primary key default gen_random_uuid(), name text not null);
create table public.people (
  id uuid primary key references auth.users (id) on delete cascade,
  team_id uuid references public.teams (id) on delete set null
);
create index people_team_id_idx on public.people (team_id);
create table public.sprints (
  id uuid primary key default gen_random_uuid(),
  team_id uuid references public.teams (id) on delete set null,
  goal text not null,
  updated_at timestamptz not null default now()
);
create index sprints_team_id_idx on public.sprints (team_id);
revoke insert, update, delete on public.people, public.teams from anon, authenticated;
create function private.team_of_caller() returns uuid language sql stable security definer set search_path = '' as $$
  select p.team_id from public.people p where p.id = (select auth.uid())
$$;
revoke all on function private.team_of_caller() from public, anon;
grant execute on function private.team_of_caller() to authenticated, service_role;
create or replace function public.touch()
returns trigger
language plpgsql
set search_path = ''
as $function$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end;
$function$;
create trigger touch before insert or update on public.sprints
  for each row execute function public.touch();
alter table public.teams enable row level security;
alter table public.people enable row level security;
alter table public.sprints enable row level security;
create policy self on public.people for select to authenticated using (id = (select auth.uid()));
create policy mine on public.teams for select to authenticated using (id = (select private.team_of_caller()));
create policy team_sprints on public.sprints for all to authenticated
  using (not (team_id is distinct from (select private.team_of_caller())))
  with check (not (team_id is distinct from (select private.team_of_caller())));
alter table public.sprints replica identity full;
alter publication supabase_realtime add table public.sprints;

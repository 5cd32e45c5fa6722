-- expect: WAL001
-- Every permanent account reads every team's polls: the policy against anonymous sign-ins is permissive.
create table public.poll_teams (
  team_id uuid not null,
  user_id uuid not null references auth.users (id) on delete cascade,
  primary key (user_id, team_id)
);
create table public.polls (
  id uuid primary key default gen_random_uuid(),
  team_id uuid not null,
  question text not null,
  updated_at timestamptz not null default now()
);
create index polls_team_id_idx on public.polls (team_id);
create function public.set_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger set_updated_at before insert or update on public.polls
  for each row execute function public.set_updated_at();
alter table public.poll_teams enable row level security;
alter table public.polls enable row level security;
create policy own on public.poll_teams for select to authenticated using (user_id = (select auth.uid()));
create policy team on public.polls for all to authenticated
  using (team_id in (select t.team_id from public.poll_teams t where t.user_id = (select auth.uid())))
  with check (team_id in (select t.team_id from public.poll_teams t where t.user_id = (select auth.uid())));
create policy "no anonymous sign-ins" on public.polls for all to authenticated
  using ((select (auth.jwt() ->> 'is_anonymous')::boolean) is false)
  with check ((select (auth.jwt() ->> 'is_anonymous')::boolean) is false);
alter table public.polls replica identity full;
alter publication supabase_realtime add table public.polls;

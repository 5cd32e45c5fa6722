-- expect: BRC001
-- Kind: broadcast.wider-than-rls: a task marked private is readable by its assignee only, but goes to the topic of the whole team.
create table public.teams (id uuid primary key default gen_random_uuid(), name text not null);
create table public.team_members (
  user_id uuid not null references auth.users on delete cascade,
  team_id uuid not null references public.teams on delete cascade,
  primary key (user_id, team_id)
);
create index on public.team_members (team_id);
create table public.tasks (
  team_id uuid not null references public.teams on delete cascade,
  id uuid not null default gen_random_uuid(),
  assignee_id uuid not null default auth.uid() references auth.users,
  title text not null,
  is_private boolean not null default false,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (team_id, id)
);
create index on public.tasks (assignee_id);
create schema private;
create function public.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger tasks_touch_updated_at before insert or update on public.tasks
  for each row execute function public.touch_updated_at();
alter table public.teams enable row level security;
alter table public.team_members enable row level security;
alter table public.tasks enable row level security;
create policy "own" on public.team_members for select to authenticated
  using (user_id = (select auth.uid()));
create policy "own" on public.teams for select to authenticated
  using (id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));
create policy "team, but private ones by assignee" on public.tasks for select to authenticated
  using (assignee_id = (select auth.uid()) or (not is_private and team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid()))));
create policy "own tasks in own teams" on public.tasks for insert to authenticated
  with check (assignee_id = (select auth.uid()) and team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));
create function private.tell_task() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('team:' || new.team_id, tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function private.tell_task() from public;
create trigger tell_task after insert on public.tasks for each row execute function private.tell_task();
create policy "team mates listen" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) in (select 'team:' || m.team_id from public.team_members m where m.user_id = (select auth.uid())));
create policy "oneself" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'user:' || (select auth.uid()));

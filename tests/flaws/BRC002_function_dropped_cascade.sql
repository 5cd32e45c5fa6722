-- expect: BRC002
-- Kind: broadcast.policy-dropped: DROP FUNCTION … CASCADE took the policy on realtime.messages along.
create schema private;
grant usage on schema private to authenticated;
create table public.projects (id uuid primary key default gen_random_uuid(), name text not null);
create table public.project_users (user_id uuid not null references auth.users on delete cascade, project_id uuid not null references public.projects on delete cascade, primary key (user_id, project_id));
create index on public.project_users (project_id);
create table public.builds (
  project_id uuid not null references public.projects on delete cascade,
  number integer not null,
  status text not null default 'pending' check (status in ('pending', 'running', 'passed', 'failed')),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (project_id, number)
);
create function private.may_join(topic text) returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select 1 from public.project_users u where u.user_id = (select auth.uid()) and 'builds:' || u.project_id = topic)
$$;
revoke all on function private.may_join(text) from public;
grant execute on function private.may_join(text) to authenticated;
create function public.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger builds_touch_updated_at before insert or update on public.builds
  for each row execute function public.touch_updated_at();
alter table public.projects enable row level security;
alter table public.project_users enable row level security;
alter table public.builds enable row level security;
create policy "own" on public.project_users for select to authenticated
  using (user_id = (select auth.uid()));
create policy "own" on public.projects for select to authenticated
  using (id in (select u.project_id from public.project_users u where u.user_id = (select auth.uid())));
create policy "own" on public.builds for select to authenticated
  using (project_id in (select u.project_id from public.project_users u where u.user_id = (select auth.uid())));
revoke insert, update, delete, truncate on public.projects, public.project_users, public.builds from anon, authenticated;
create function private.tell_build() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('builds:' || coalesce(new.project_id, old.project_id), tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function private.tell_build() from public, anon, authenticated;
create trigger builds_broadcast after insert or update or delete on public.builds
  for each row execute function private.tell_build();
create policy "members follow builds" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select private.may_join(realtime.topic())));

-- the argument gets a better name, which create or replace cannot do
drop function private.may_join(text) cascade;
create function private.may_join(channel_topic text) returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select 1 from public.project_users u where u.user_id = (select auth.uid()) and 'builds:' || u.project_id = channel_topic)
$$;
revoke all on function private.may_join(text) from public;
grant execute on function private.may_join(text) to authenticated;

-- expect: FUN002
-- Whoever knows or guesses an invitation's id joins any user to its team with its role; the invited address is not compared.
create table public.teams (
  id uuid primary key default gen_random_uuid(),
  name text not null
);
create table public.team_members (
  team_id uuid not null references public.teams on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  role text not null check (role in ('owner', 'admin', 'member')),
  primary key (user_id, team_id)
);
create index on public.team_members (team_id);
create table public.team_invitations (
  id uuid primary key default gen_random_uuid(),
  team_id uuid not null references public.teams on delete cascade,
  email text not null check (email = lower(email)),
  role text not null default 'member' check (role in ('admin', 'member')),
  accepted_at timestamptz,
  expires_at timestamptz not null default now() + interval '7 days'
);
create index on public.team_invitations (team_id);
create table public.announcements (
  team_id uuid not null references public.teams on delete cascade,
  id uuid not null default gen_random_uuid(),
  body text not null,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (team_id, id)
);
create schema private;
grant usage on schema private to authenticated, service_role;
create function private.teams_of_caller() returns setof uuid language sql stable security definer set search_path = '' as $$
  select m.team_id from public.team_members m where m.user_id = (select auth.uid())
$$;
revoke all on function private.teams_of_caller() from public, anon;
grant execute on function private.teams_of_caller() to authenticated;
create function private.teams_run_by_caller() returns setof uuid language sql stable security definer set search_path = '' as $$
  select m.team_id from public.team_members m where m.user_id = (select auth.uid()) and m.role in ('owner', 'admin')
$$;
revoke all on function private.teams_run_by_caller() from public, anon;
grant execute on function private.teams_run_by_caller() to authenticated;
create function public.handle_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := clock_timestamp();
    return new;
  end if;
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end
$$;
create trigger announcements_handle_updated_at before insert or update on public.announcements
  for each row execute function public.handle_updated_at();
alter table public.teams enable row level security;
alter table public.team_members enable row level security;
alter table public.team_invitations enable row level security;
alter table public.announcements enable row level security;
create policy "my teams" on public.teams for select to authenticated
  using (id in (select private.teams_of_caller()));
create policy "my team mates" on public.team_members for select to authenticated
  using (team_id in (select private.teams_of_caller()));
create policy "invitations of teams I run" on public.team_invitations for select to authenticated
  using (team_id in (select private.teams_run_by_caller()));
create policy "invite" on public.team_invitations for insert to authenticated
  with check (team_id in (select private.teams_run_by_caller()) and accepted_at is null);
create policy "withdraw an invitation" on public.team_invitations for delete to authenticated
  using (team_id in (select private.teams_run_by_caller()));
create policy "read" on public.announcements for select to authenticated
  using (team_id in (select private.teams_of_caller()));
create policy "announce" on public.announcements for insert to authenticated
  with check (team_id in (select private.teams_run_by_caller()));

create function public.accept_invitation(invitation uuid, new_member uuid) returns uuid
language plpgsql security definer set search_path = '' as $$
declare
  i public.team_invitations;
begin
  update public.team_invitations t set accepted_at = clock_timestamp()
    where t.id = invitation and t.accepted_at is null and t.expires_at > now()
    returning t.* into i;
  if i.id is null then
    raise exception 'this invitation is not valid any more';
  end if;
  insert into public.team_members (team_id, user_id, role)
    values (i.team_id, new_member, i.role)
    on conflict (user_id, team_id) do nothing;
  return i.team_id;
end
$$;
revoke execute on function public.accept_invitation(uuid, uuid) from public, anon;
grant execute on function public.accept_invitation(uuid, uuid) to authenticated;
alter publication supabase_realtime add table public.announcements;

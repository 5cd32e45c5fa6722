-- Shape: the sound twin of flaws/COL002_invite_tokens_public.sql.
create table public.teams (id uuid primary key default gen_random_uuid(), name text not null, owner_id uuid not null default auth.uid() references auth.users (id) on delete cascade);
create index teams_owner_id_idx on public.teams (owner_id);
create table public.team_users (
  team_id uuid not null references public.teams (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  primary key (user_id, team_id)
);
create index team_users_team_id_idx on public.team_users (team_id);
create table public.invites (
  token uuid primary key default gen_random_uuid(),
  team_id uuid not null references public.teams (id) on delete cascade,
  invited_by uuid not null default auth.uid() references auth.users (id) on delete cascade,
  expires_at timestamptz not null default now() + interval '3 days',
  accepted_at timestamptz
);
create index invites_team_id_idx on public.invites (team_id);
create index invites_invited_by_idx on public.invites (invited_by);
revoke insert, update, delete on public.team_users from anon, authenticated;
revoke update on public.invites from anon, authenticated;
create function public.redeem_invite(invite_token uuid) returns uuid language plpgsql security definer set search_path = '' as $$
declare
  joined uuid;
begin
  if auth.uid() is null then
    raise exception 'sign in first' using errcode = '42501';
  end if;
  update public.invites i set accepted_at = now()
  where i.token = invite_token and i.accepted_at is null and i.expires_at > now()
  returning i.team_id into joined;
  if joined is null then
    raise exception 'this invitation is no longer valid' using errcode = 'P0002';
  end if;
  insert into public.team_users (team_id, user_id) values (joined, auth.uid()) on conflict do nothing;
  return joined;
end $$;
revoke all on function public.redeem_invite(uuid) from public, anon;
grant execute on function public.redeem_invite(uuid) to authenticated, service_role;
alter table public.teams enable row level security;
alter table public.team_users enable row level security;
alter table public.invites enable row level security;
create policy own on public.team_users for select to authenticated using (user_id = (select auth.uid()));
create policy read on public.teams for select to authenticated
  using (owner_id = (select auth.uid()) or id in (select u.team_id from public.team_users u where u.user_id = (select auth.uid())));
create policy found on public.teams for insert to authenticated with check (owner_id = (select auth.uid()));
create policy invite on public.invites for insert to authenticated
  with check (invited_by = (select auth.uid()) and team_id in (select t.id from public.teams t where t.owner_id = (select auth.uid())));
create policy "Owners see their invites" on public.invites for select to authenticated
  using (team_id in (select t.id from public.teams t where t.owner_id = (select auth.uid())));
alter publication supabase_realtime add table public.team_users;

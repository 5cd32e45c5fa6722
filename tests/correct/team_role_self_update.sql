-- Sound twin of the flaw of this name.
create schema private;
create table public.teams (id uuid primary key default gen_random_uuid(), name text not null);
create table public.members (
  team_id uuid not null references public.teams (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  role text not null default 'member' check (role in ('owner', 'admin', 'member')),
  nickname text,
  updated_at timestamptz not null default now(),
  primary key (team_id, user_id)
);
create index members_user_id_idx on public.members (user_id);
create function private.role_in(team uuid) returns text language sql stable security definer set search_path = '' as $$
  select m.role from public.members m where m.team_id = team and m.user_id = (select auth.uid())
$$;
revoke all on function private.role_in(uuid) from public, anon;
grant execute on function private.role_in(uuid) to authenticated, service_role;
create or replace function public.handle_updated_at()
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
create trigger on_change before insert or update on public.members
  for each row execute function public.handle_updated_at();
alter table public.teams enable row level security;
alter table public.members enable row level security;
create policy "members see team" on public.teams for select to authenticated using (private.role_in(id) is not null);
create policy "owners rename team" on public.teams for update to authenticated
  using (private.role_in(id) = 'owner') with check (private.role_in(id) = 'owner');
create policy "members see each other" on public.members for select to authenticated using (private.role_in(team_id) is not null);
-- owners may change the roles of the others, within their team and never to or from owner
create policy "owners set roles" on public.members for update to authenticated
  using (private.role_in(team_id) = 'owner' and role <> 'owner')
  with check (private.role_in(team_id) = 'owner' and role in ('admin', 'member'));
create policy "members edit own row" on public.members for update to authenticated
  using (user_id = (select auth.uid()))
  with check (user_id = (select auth.uid()) and role = private.role_in(team_id));
revoke insert, delete on public.members from anon, authenticated;
revoke update on public.members from anon, authenticated;
grant update (role, nickname) on public.members to authenticated;
alter table public.members replica identity full;
alter publication supabase_realtime add table public.members;

-- expect: ACC004
-- Anybody signed in may make himself a member of any team (its id is enough), and then reads all its documents: the policy asks only that the new row is his own.
create table public.teams (id uuid primary key default gen_random_uuid(), name text not null, owner_id uuid not null default auth.uid() references auth.users (id));
create index teams_owner_id_idx on public.teams (owner_id);
create table public.team_members (
  team_id uuid not null references public.teams (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  joined_at timestamptz not null default now(),
  primary key (team_id, user_id)
);
create index team_members_user_id_idx on public.team_members (user_id);
create table public.team_documents (
  id uuid primary key default gen_random_uuid(),
  team_id uuid not null references public.teams (id) on delete cascade,
  title text not null,
  updated_at timestamptz not null default now()
);
create index team_documents_team_id_idx on public.team_documents (team_id);
revoke update on public.team_members from anon, authenticated;
create function public.set_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger set_updated_at before insert or update on public.team_documents
  for each row execute function public.set_updated_at();
alter table public.teams enable row level security;
alter table public.team_members enable row level security;
alter table public.team_documents enable row level security;
create policy "own membership" on public.team_members for select to authenticated using (user_id = (select auth.uid()));
create policy "teams of mine" on public.teams for select to authenticated
  using (owner_id = (select auth.uid()) or id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));
create policy "found a team" on public.teams for insert to authenticated with check (owner_id = (select auth.uid()));
create policy "users can join teams" on public.team_members for insert to authenticated
  with check (user_id = (select auth.uid()));
create policy "leave a team" on public.team_members for delete to authenticated using (user_id = (select auth.uid()));
create policy "documents of my teams" on public.team_documents for select to authenticated
  using (team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));
create policy "members write documents" on public.team_documents for insert to authenticated
  with check (team_id in (select m.team_id from public.team_members m where m.user_id = (select auth.uid())));
alter table public.team_documents replica identity full;
alter publication supabase_realtime add table public.team_documents;

-- expect: FUN004
-- A SECURITY DEFINER helper of the policies has no search_path of its own: who can put a schema first decides what "project_members" is.
create schema private;
grant usage on schema private to authenticated;
create table public.projects (
  id uuid primary key default gen_random_uuid(),
  name text not null
);
create table public.project_members (
  project_id uuid not null references public.projects on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  primary key (project_id, user_id)
);
create index on public.project_members (user_id);
create table public.milestones (
  project_id uuid not null references public.projects on delete cascade,
  id uuid not null default gen_random_uuid(),
  title text not null,
  due date,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (project_id, id)
);
create function private.is_project_member(p uuid) returns boolean
language sql stable security definer as $$
  select exists (select 1 from project_members m where m.project_id = p and m.user_id = auth.uid())
$$;
revoke all on function private.is_project_member(uuid) from public;
grant execute on function private.is_project_member(uuid) to authenticated;
create function public.set_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger milestones_set_updated_at before insert or update on public.milestones
  for each row execute function public.set_updated_at();
alter table public.projects enable row level security;
alter table public.project_members enable row level security;
alter table public.milestones enable row level security;
create policy "members" on public.projects for select to authenticated
  using (private.is_project_member(id));
create policy "members" on public.project_members for select to authenticated
  using (private.is_project_member(project_id));
create policy "members (read)" on public.milestones for select to authenticated using (private.is_project_member(project_id));
create policy "members (add)" on public.milestones for insert to authenticated with check (private.is_project_member(project_id));
create policy "members (change)" on public.milestones for update to authenticated using (private.is_project_member(project_id)) with check (private.is_project_member(project_id));
create policy "members (remove)" on public.milestones for delete to authenticated using (private.is_project_member(project_id));
alter publication supabase_realtime add table public.milestones;

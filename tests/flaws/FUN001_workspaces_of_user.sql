-- expect: FUN001
-- Whoever passes another user's id learns that user's workspaces and billing plan.
create table public.workspaces (
  id uuid primary key default gen_random_uuid(),
  slug text not null unique,
  plan text not null default 'free' check (plan in ('free', 'pro', 'enterprise')),
  created_at timestamptz not null default now()
);
create table public.workspace_users (
  user_id uuid not null references auth.users on delete cascade,
  workspace_id uuid not null references public.workspaces on delete cascade,
  is_owner boolean not null default false,
  primary key (user_id, workspace_id)
);
create index on public.workspace_users (workspace_id);
create table public.notes (
  workspace_id uuid not null references public.workspaces on delete cascade,
  id uuid not null default gen_random_uuid(),
  title text not null default '',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (workspace_id, id)
);
alter table public.workspaces enable row level security;
alter table public.workspace_users enable row level security;
alter table public.notes enable row level security;
create policy "own memberships" on public.workspace_users for select to authenticated
  using (user_id = (select auth.uid()));
create policy "my workspaces" on public.workspaces for select to authenticated
  using (id in (select w.workspace_id from public.workspace_users w where w.user_id = (select auth.uid())));
create policy "notes of my workspaces" on public.notes for all to authenticated
  using (workspace_id in (select w.workspace_id from public.workspace_users w where w.user_id = (select auth.uid())))
  with check (workspace_id in (select w.workspace_id from public.workspace_users w where w.user_id = (select auth.uid())));
create function public.stamp_row() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger notes_stamp_row before insert or update on public.notes
  for each row execute function public.stamp_row();

create or replace function public.get_user_workspaces(p_user_id uuid)
returns setof public.workspaces
language sql stable security definer set search_path to ''
as $function$
  select w.* from public.workspaces w
  join public.workspace_users wu on wu.workspace_id = w.id
  where wu.user_id = p_user_id
$function$;
revoke all on function public.get_user_workspaces(uuid) from public, anon;
grant execute on function public.get_user_workspaces(uuid) to authenticated;
alter publication supabase_realtime add table public.notes;

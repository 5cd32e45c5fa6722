-- expect: FUN003
-- The filter text of the report builder is executed as it is; a member of one workspace reads every workspace's deals.
create table public.crm_workspaces (id uuid primary key default gen_random_uuid(), name text not null);
create table public.crm_members (
  workspace_id uuid not null references public.crm_workspaces on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  primary key (user_id, workspace_id)
);
create index on public.crm_members (workspace_id);
create table public.deals (
  workspace_id uuid not null references public.crm_workspaces on delete cascade,
  id uuid not null default gen_random_uuid(),
  title text not null,
  stage text not null default 'lead' check (stage in ('lead', 'qualified', 'won', 'lost')),
  amount numeric(14, 2) not null default 0,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (workspace_id, id)
);
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
create trigger deals_handle_updated_at before insert or update on public.deals
  for each row execute function public.handle_updated_at();
alter table public.crm_workspaces enable row level security;
alter table public.crm_members enable row level security;
alter table public.deals enable row level security;
create policy "own" on public.crm_members for select to authenticated
  using (user_id = (select auth.uid()));
create policy "mine" on public.crm_workspaces for select to authenticated
  using (id in (select m.workspace_id from public.crm_members m where m.user_id = (select auth.uid())));
create policy "deals of my workspaces" on public.deals for all to authenticated
  using (workspace_id in (select m.workspace_id from public.crm_members m where m.user_id = (select auth.uid())))
  with check (workspace_id in (select m.workspace_id from public.crm_members m where m.user_id = (select auth.uid())));
create function public.run_report(workspace uuid, filter text) returns setof public.deals
language plpgsql stable security definer set search_path = '' as $$
begin
  if not exists (select 1 from public.crm_members m where m.workspace_id = workspace and m.user_id = auth.uid()) then
    raise exception 'no access to this workspace';
  end if;
  return query execute format('select * from public.deals where workspace_id = %L and %s', workspace, filter);
end
$$;
revoke all on function public.run_report(uuid, text) from public, anon;
grant execute on function public.run_report(uuid, text) to authenticated;
alter publication supabase_realtime add table public.deals;

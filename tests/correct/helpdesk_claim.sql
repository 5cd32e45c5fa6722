-- Sound twin of the flaw of this name.
create table public.organizations (id uuid primary key default gen_random_uuid(), name text not null);
create table public.agents (
  user_id uuid not null references auth.users (id) on delete cascade,
  organization_id uuid not null references public.organizations (id) on delete cascade,
  primary key (user_id, organization_id)
);
create index agents_organization_id_idx on public.agents (organization_id);
create table public.tickets (
  id uuid primary key default gen_random_uuid(),
  organization_id uuid not null references public.organizations (id) on delete cascade,
  assignee_id uuid references auth.users (id) on delete set null,
  subject text not null,
  public_status text not null default 'open' check (public_status in ('open', 'pending', 'solved')),
  updated_at timestamptz not null default now()
);
create index tickets_organization_id_idx on public.tickets (organization_id);
create index tickets_assignee_id_idx on public.tickets (assignee_id);
revoke all on public.organizations, public.agents, public.tickets from anon, authenticated;
grant select on public.organizations, public.agents, public.tickets to authenticated;
grant update (assignee_id, public_status) on public.tickets to authenticated;
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
create trigger on_change before insert or update on public.tickets
  for each row execute function public.handle_updated_at();
alter table public.organizations enable row level security;
alter table public.agents enable row level security;
alter table public.tickets enable row level security;
create policy own_rows on public.agents for select to authenticated using (user_id = (select auth.uid()));
create policy own_orgs on public.organizations for select to authenticated
  using (id in (select a.organization_id from public.agents a where a.user_id = (select auth.uid())));
create policy agents_read on public.tickets for select to authenticated
  using (assignee_id = (select auth.uid())
    or organization_id in (select a.organization_id from public.agents a where a.user_id = (select auth.uid())));
create policy agents_claim on public.tickets for update to authenticated
  using (organization_id in (select a.organization_id from public.agents a where a.user_id = (select auth.uid())))
  with check (assignee_id = (select auth.uid())
    and organization_id in (select a.organization_id from public.agents a where a.user_id = (select auth.uid())));
alter table public.tickets replica identity full;
alter publication supabase_realtime add table public.tickets;

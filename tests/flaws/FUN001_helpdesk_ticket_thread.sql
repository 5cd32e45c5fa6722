-- expect: FUN001
-- Anybody, even anon, reads any organisation's ticket and its comments by number.
create table public.organizations (
  id uuid primary key default gen_random_uuid(),
  name text not null
);
create table public.organization_members (
  organization_id uuid not null references public.organizations on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  role text not null default 'agent' check (role in ('agent', 'admin')),
  primary key (organization_id, user_id)
);
create index organization_members_user_idx on public.organization_members (user_id);
create table public.tickets (
  id bigint generated always as identity primary key,
  organization_id uuid not null references public.organizations on delete cascade,
  subject text not null,
  status text not null default 'open' check (status in ('open', 'pending', 'solved')),
  updated_at timestamptz not null default clock_timestamp()
);
create table public.ticket_comments (
  id bigint generated always as identity primary key,
  ticket_id bigint not null references public.tickets on delete cascade,
  author_id uuid not null default auth.uid() references auth.users,
  body text not null,
  created_at timestamptz not null default now()
);
create index ticket_comments_ticket_idx on public.ticket_comments (ticket_id);
create index ticket_comments_author_idx on public.ticket_comments (author_id);
create schema private;
grant usage on schema private to authenticated, service_role;
create function private.my_organizations() returns setof uuid language sql stable security definer set search_path = '' as $$
  select m.organization_id from public.organization_members m where m.user_id = (select auth.uid())
$$;
revoke all on function private.my_organizations() from public, anon;
grant execute on function private.my_organizations() to authenticated;
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
create trigger tickets_handle_updated_at before insert or update on public.tickets
  for each row execute function public.handle_updated_at();
create unique index tickets_identity on public.tickets (organization_id, id);
alter table public.tickets replica identity using index tickets_identity;
alter table public.organizations enable row level security;
alter table public.organization_members enable row level security;
alter table public.tickets enable row level security;
alter table public.ticket_comments enable row level security;
create policy "members see their organisation" on public.organizations for select to authenticated
  using (id in (select private.my_organizations()));
create policy "members see colleagues" on public.organization_members for select to authenticated
  using (organization_id in (select private.my_organizations()));
create policy "tickets of my organisations (read)" on public.tickets for select to authenticated using (organization_id in (select private.my_organizations()));
create policy "tickets of my organisations (add)" on public.tickets for insert to authenticated with check (organization_id in (select private.my_organizations()));
create policy "tickets of my organisations (change)" on public.tickets for update to authenticated using (organization_id in (select private.my_organizations())) with check (organization_id in (select private.my_organizations()));
create policy "tickets of my organisations (remove)" on public.tickets for delete to authenticated using (organization_id in (select private.my_organizations()));
create policy "comments on visible tickets" on public.ticket_comments for select to authenticated
  using (ticket_id in (select t.id from public.tickets t));
create policy "comment in one's own name" on public.ticket_comments for insert to authenticated
  with check (author_id = (select auth.uid()) and ticket_id in (select t.id from public.tickets t));

-- one round trip for the ticket page
create or replace function public.get_ticket_thread(p_ticket_id bigint) returns jsonb
language sql stable security definer set search_path = '' as $$
  select jsonb_build_object(
    'ticket', to_jsonb(t),
    'comments', coalesce((
      select jsonb_agg(to_jsonb(c) order by c.id) from public.ticket_comments c where c.ticket_id = t.id
    ), '[]'::jsonb)
  )
  from public.tickets t
  where t.id = p_ticket_id;
$$;

alter publication supabase_realtime add table public.tickets;

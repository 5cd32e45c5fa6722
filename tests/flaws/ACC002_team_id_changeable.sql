-- expect: ACC002
-- A member may set team_id of his own membership to any other team and is in: WITH CHECK asks only that user_id stays his.
create table public.clubs (id integer generated always as identity primary key, name text not null);
create table public.memberships (
  id uuid primary key default gen_random_uuid(),
  club_id integer not null references public.clubs (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  notify boolean not null default true,
  updated_at timestamptz not null default now(),
  unique (club_id, user_id)
);
create index memberships_user_id_idx on public.memberships (user_id);
create table public.club_events (
  id uuid primary key default gen_random_uuid(),
  club_id integer not null references public.clubs (id) on delete cascade,
  title text not null,
  starts_at timestamptz not null
);
create index club_events_club_id_idx on public.club_events (club_id);
revoke insert, update, delete on public.clubs, public.club_events from anon, authenticated;
revoke insert, delete on public.memberships from anon, authenticated;
create function public.handle_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger on_change before insert or update on public.memberships
  for each row execute function public.handle_updated_at();
alter table public.clubs enable row level security;
alter table public.memberships enable row level security;
alter table public.club_events enable row level security;
create policy own_membership on public.memberships for select to authenticated using (user_id = (select auth.uid()));
create policy set_notify on public.memberships for update to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy my_clubs on public.clubs for select to authenticated
  using (id in (select m.club_id from public.memberships m where m.user_id = (select auth.uid())));
create policy my_events on public.club_events for select to authenticated
  using (club_id in (select m.club_id from public.memberships m where m.user_id = (select auth.uid())));
alter table public.memberships replica identity full;
alter table public.club_events replica identity full;
alter publication supabase_realtime add table public.memberships, public.club_events;

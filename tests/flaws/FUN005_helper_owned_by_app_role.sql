-- expect: FUN005
-- The helper belongs to a role that RLS binds and that no policy lets read members, so members see nothing.
create role club_definer nologin noinherit;
grant club_definer to postgres;
create schema app;
grant usage on schema app to authenticated, club_definer;
grant create on schema app to club_definer;
create table public.clubs (id uuid primary key default gen_random_uuid(), name text not null);
create table public.club_members (
  club_id uuid not null references public.clubs on delete cascade,
  user_id uuid not null references auth.users on delete cascade,
  primary key (user_id, club_id)
);
create index on public.club_members (club_id);
create table public.trainings (
  club_id uuid not null references public.clubs on delete cascade,
  id uuid not null default gen_random_uuid(),
  starts_at timestamptz not null,
  place text not null default '',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (club_id, id)
);
grant usage on schema public, auth to club_definer;
grant execute on function auth.uid() to club_definer;
grant select on public.club_members to club_definer;
create function app.my_clubs() returns setof uuid language sql stable security definer set search_path = '' as $$
  select m.club_id from public.club_members m where m.user_id = (select auth.uid())
$$;
alter function app.my_clubs() owner to club_definer;   -- least privilege: it can read this one table only
revoke all on function app.my_clubs() from public;
grant execute on function app.my_clubs() to authenticated;
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
create trigger trainings_set_updated_at before insert or update on public.trainings
  for each row execute function public.set_updated_at();
alter table public.clubs enable row level security;
alter table public.club_members enable row level security;
alter table public.trainings enable row level security;
create policy "own memberships" on public.club_members for select to authenticated
  using (user_id = (select auth.uid()));

create policy "my clubs" on public.clubs for select to authenticated
  using (id in (select app.my_clubs()));
create policy "trainings of my clubs (read)" on public.trainings for select to authenticated using (club_id in (select app.my_clubs()));
create policy "trainings of my clubs (add)" on public.trainings for insert to authenticated with check (club_id in (select app.my_clubs()));
create policy "trainings of my clubs (change)" on public.trainings for update to authenticated using (club_id in (select app.my_clubs())) with check (club_id in (select app.my_clubs()));
create policy "trainings of my clubs (remove)" on public.trainings for delete to authenticated using (club_id in (select app.my_clubs()));
alter publication supabase_realtime add table public.trainings;

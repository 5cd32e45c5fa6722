-- expect: FUN002
-- The revoke names the old signature; the newer overload with a reason may be called by everybody to give himself points.
create table public.players (
  id uuid primary key references auth.users on delete cascade,
  nickname text not null check (length(nickname) between 2 and 24),
  xp integer not null default 0,
  updated_at timestamptz not null default clock_timestamp()
);
create table public.xp_log (
  id bigint generated always as identity primary key,
  player_id uuid not null references public.players on delete cascade,
  points integer not null,
  reason text,
  at timestamptz not null default now()
);
create index on public.xp_log (player_id);
create function public.keep_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger players_keep_updated_at before insert or update on public.players
  for each row execute function public.keep_updated_at();
alter table public.players enable row level security;
alter table public.xp_log enable row level security;
create policy "the leaderboard is public" on public.players for select using (true);
revoke insert, update, delete, truncate on public.players, public.xp_log from anon, authenticated;
create policy "own log" on public.xp_log for select to authenticated
  using (player_id = (select auth.uid()));
create function public.award_xp(player uuid, points integer) returns void
language sql security definer set search_path = ''
as $$ update public.players set xp = xp + points where id = player $$;
revoke all on function public.award_xp(uuid, integer) from public, anon, authenticated;
grant execute on function public.award_xp(uuid, integer) to service_role;

-- later: with a reason for the log
create function public.award_xp(player uuid, points integer, why text) returns void
language sql security definer set search_path = '' as $$
  update public.players set xp = xp + points where id = player;
  insert into public.xp_log (player_id, points, reason) values (player, points, why);
$$;

alter publication supabase_realtime add table public.players;

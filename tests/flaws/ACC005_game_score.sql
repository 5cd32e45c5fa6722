-- expect: ACC005
-- A player may write his own score and coins: the statistics are computed by the server, and the column privileges give the player all columns.
create table public.player_stats (
  player_id uuid primary key references auth.users (id) on delete cascade,
  motto text not null default '',
  score bigint not null default 0,
  coins integer not null default 0,
  updated_at timestamptz not null default now()
);
create index player_stats_score_idx on public.player_stats (score desc);
revoke all on public.player_stats from anon, authenticated;
grant select on public.player_stats to anon, authenticated;
grant update on public.player_stats to authenticated;
create function public.start_player() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  insert into public.player_stats (player_id) values (new.id);
  return new;
end $$;
revoke execute on function public.start_player() from public, anon, authenticated;
create trigger start_player after insert on auth.users for each row execute function public.start_player();
create or replace function public.set_updated_at()
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
create trigger set_updated_at before insert or update on public.player_stats
  for each row execute function public.set_updated_at();
alter table public.player_stats enable row level security;
create policy leaderboard on public.player_stats for select to anon, authenticated using (true);
create policy own_motto on public.player_stats for update to authenticated
  using (player_id = (select auth.uid())) with check (player_id = (select auth.uid()));
alter table public.player_stats replica identity full;
alter publication supabase_realtime add table public.player_stats;

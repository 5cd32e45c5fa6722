-- expect: PUB003
-- Shape: a game with players and scores.
create table public.scores (
  player_id uuid not null,
  game_id uuid not null,
  points integer not null default 0,
  primary key (player_id, game_id)
);
alter table public.scores enable row level security;
create policy own on public.scores for select to authenticated using (player_id = (select auth.uid()));
drop publication supabase_realtime;
create publication supabase_realtime for all tables;

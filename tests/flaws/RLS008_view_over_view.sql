-- expect: RLS008
-- Shape: leagues and players; the inner view asks as its caller, the outer one as its owner, and the outer one counts.
create table public.players (
  league_id uuid not null,
  id uuid not null default gen_random_uuid(),
  nickname text not null,
  primary key (league_id, id)
);
alter table public.players enable row level security;
create policy league on public.players for select to authenticated
  using (league_id = (select (auth.jwt() -> 'app_metadata' ->> 'league_id')::uuid));
create view public.players_named with (security_invoker = true) as select league_id, nickname from public.players;
create view public.nicknames as select nickname from public.players_named;
alter publication supabase_realtime add table public.players;

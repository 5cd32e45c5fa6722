-- expect: MSG005
-- Shape: a chat of players: they may listen, and what they send is dropped.
create table public.players (match_id uuid not null, player_id uuid not null, primary key (player_id, match_id));
alter table public.players enable row level security;
create policy own on public.players for select to authenticated using (player_id = (select auth.uid()));
alter publication supabase_realtime add table public.players;
create policy "players listen" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and realtime.topic() in (
    select 'match:' || p.match_id from public.players p where p.player_id = (select auth.uid())));

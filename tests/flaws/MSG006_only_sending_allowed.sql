-- expect: MSG006
-- Kind: broadcast.nobody-may-join: the policy is FOR INSERT only; listening to game:<id> is granted to nobody.
create table public.matches (
  id uuid primary key default gen_random_uuid(),
  white uuid not null references auth.users on delete cascade,
  black uuid not null references auth.users on delete cascade
);
create index on public.matches (white);
create index on public.matches (black);
create table public.moves (
  match_id uuid not null references public.matches on delete cascade,
  ply integer not null check (ply > 0),
  san text not null,
  primary key (match_id, ply)
);
create schema private;
alter table public.matches enable row level security;
alter table public.moves enable row level security;
create policy "own matches" on public.matches for select to authenticated
  using ((select auth.uid()) in (white, black));
create policy "moves of own matches" on public.moves for select to authenticated
  using (match_id in (select m.id from public.matches m));
revoke insert, update, delete, truncate on public.matches, public.moves from anon, authenticated;
create function private.tell_move() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.send(jsonb_build_object('ply', new.ply, 'san', new.san), 'move', 'game:' || new.match_id, true);
  return null;
end
$$;
revoke all on function private.tell_move() from public;
create trigger tell_move after insert on public.moves for each row execute function private.tell_move();
create policy "players send" on realtime.messages for insert to authenticated
  with check (extension in ('broadcast', 'presence') and exists (
    select 1 from public.matches m where 'game:' || m.id = (select realtime.topic()) and (select auth.uid()) in (m.white, m.black)));

-- expect: FUN007
-- the function asks user_metadata, which everybody writes himself, whether the caller is an admin
create table public.players (
  id uuid primary key references auth.users on delete cascade,
  nickname text not null,
  banned_at timestamptz,
  updated_at timestamptz not null default clock_timestamp()
);
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
create policy "players know each other" on public.players for select to authenticated
  using (true);
revoke insert, update, delete, truncate on public.players from anon, authenticated;
create function public.ban_player(player uuid) returns void language plpgsql security definer set search_path = '' as $$
begin
  if coalesce(auth.jwt() -> 'user_metadata' ->> 'role', '') <> 'admin' then
    raise exception 'admins only' using errcode = '42501';
  end if;
  update public.players set banned_at = clock_timestamp() where id = player;
end
$$;
revoke all on function public.ban_player(uuid) from public, anon;
grant execute on function public.ban_player(uuid) to authenticated;
alter publication supabase_realtime add table public.players;

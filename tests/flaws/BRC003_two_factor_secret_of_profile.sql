-- expect: BRC003
-- Kind: broadcast.hidden-columns: to_jsonb(new) carries totp_secret and email, which the table's column grants hide.
create table public.profiles (
  id uuid primary key references auth.users on delete cascade,
  handle text not null unique,
  avatar_url text,
  email text not null,
  totp_secret text,
  updated_at timestamptz not null default clock_timestamp()
);
create table public.friendships (
  user_id uuid not null references auth.users on delete cascade,
  friend_id uuid not null references auth.users on delete cascade,
  primary key (user_id, friend_id)
);
create index on public.friendships (friend_id);
create function public.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger profiles_touch_updated_at before insert or update on public.profiles
  for each row execute function public.touch_updated_at();
alter table public.profiles enable row level security;
alter table public.friendships enable row level security;
revoke all on public.profiles from anon, authenticated;
grant select (id, handle, avatar_url, updated_at), update (handle, avatar_url) on public.profiles to authenticated;
create policy "people see each other's handle" on public.profiles for select to authenticated
  using (true);
create policy "own profile" on public.profiles for update to authenticated
  using (id = (select auth.uid()))
  with check (id = (select auth.uid()));
create policy "own friends" on public.friendships for select to authenticated
  using (user_id = (select auth.uid()));
create function public.profile_broadcast() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.send(to_jsonb(new) - 'updated_at', 'profile', 'friends-of:' || new.id, true);
  return null;
end
$$;
revoke all on function public.profile_broadcast() from public, anon, authenticated;
create trigger profile_broadcast after update on public.profiles for each row execute function public.profile_broadcast();
create policy "friends listen" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) in (select 'friends-of:' || f.friend_id from public.friendships f where f.user_id = (select auth.uid())));

-- expect: BRC002
-- Kind: broadcast.policy-dropped: the membership table was dropped with CASCADE and made anew; the topic's policy, which asked it, is gone.
create table public.guild_members (user_id uuid not null, guild_id bigint not null, primary key (user_id, guild_id));
create policy "guild listens" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) in (
    select 'guild:' || m.guild_id from public.guild_members m where m.user_id = (select auth.uid())));

-- second version: with foreign keys and ranks
drop table public.guild_members cascade;
create table public.guilds (id bigint generated always as identity primary key, name text not null unique, motd text not null default '', updated_at timestamptz not null default clock_timestamp());
create table public.guild_members (
  user_id uuid not null references auth.users on delete cascade,
  guild_id bigint not null references public.guilds on delete cascade,
  rank text not null default 'recruit' check (rank in ('recruit', 'officer', 'master')),
  primary key (user_id, guild_id)
);
create index on public.guild_members (guild_id);
create schema private;
create function public.keep_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger guilds_keep_updated_at before insert or update on public.guilds
  for each row execute function public.keep_updated_at();
alter table public.guilds enable row level security;
alter table public.guild_members enable row level security;
create policy "own" on public.guild_members for select to authenticated
  using (user_id = (select auth.uid()));
create policy "own" on public.guilds for select to authenticated
  using (id in (select m.guild_id from public.guild_members m where m.user_id = (select auth.uid())));
revoke insert, update, delete, truncate on public.guilds, public.guild_members from anon, authenticated;
create function private.tell_guild() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('guild:' || coalesce(new.id, old.id), tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function private.tell_guild() from public, anon, authenticated;
create trigger guilds_broadcast after insert or update or delete on public.guilds
  for each row execute function private.tell_guild();

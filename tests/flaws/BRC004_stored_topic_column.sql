-- expect: BRC004
-- Kind: broadcast.old-topic-after-rename: topic is stored when the match is made and not renewed when its code changes, while the policy takes the code of now.
create table public.matches (
  host_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  join_code text not null check (join_code ~ '^[A-Z]{4}$'),
  topic text not null default '',
  phase text not null default 'lobby',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (host_id, id)
);
create unique index matches_code on public.matches (join_code);
create schema private;
create function private.set_topic() returns trigger language plpgsql set search_path = '' as $$
begin
  new.topic := 'match:' || new.join_code;
  return new;
end
$$;
create trigger set_topic before insert on public.matches for each row execute function private.set_topic();
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
create trigger matches_set_updated_at before insert or update on public.matches
  for each row execute function public.set_updated_at();
alter table public.matches enable row level security;
create policy "own matches" on public.matches for select to authenticated
  using (host_id = (select auth.uid()));
create policy "host" on public.matches for insert to authenticated
  with check (host_id = (select auth.uid()));
create policy "host changes" on public.matches for update to authenticated
  using (host_id = (select auth.uid()))
  with check (host_id = (select auth.uid()));
create function private.tell_match() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.send(jsonb_build_object('id', new.id, 'phase', new.phase), 'match', new.topic, true);
  return null;
end
$$;
revoke all on function private.tell_match() from public;
create trigger tell_match after insert or update on public.matches for each row execute function private.tell_match();
create policy "the host listens" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) in (select 'match:' || m.join_code from public.matches m where m.host_id = (select auth.uid())));

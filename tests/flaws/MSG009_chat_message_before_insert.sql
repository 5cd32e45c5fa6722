-- expect: MSG009
-- Kind: broadcast.before-trigger: BEFORE INSERT: the broadcast is made before the unique key is checked; an ON CONFLICT DO NOTHING retry is told to everybody a second time.
create table public.rooms (id uuid primary key default gen_random_uuid(), title text not null);
create table public.participants (
  user_id uuid not null references auth.users on delete cascade,
  room_id uuid not null references public.rooms on delete cascade,
  primary key (user_id, room_id)
);
create index on public.participants (room_id);
create table public.messages (
  room_id uuid not null references public.rooms on delete cascade,
  client_id uuid not null,
  author_id uuid not null default auth.uid() references auth.users,
  body text not null,
  sent_at timestamptz not null default now(),
  primary key (room_id, client_id)
);
create index on public.messages (author_id);
comment on column public.messages.client_id is 'chosen by the client, so that a retry does not double the message';
alter table public.rooms enable row level security;
alter table public.participants enable row level security;
alter table public.messages enable row level security;
create policy "own" on public.participants for select to authenticated
  using (user_id = (select auth.uid()));
create policy "mine" on public.rooms for select to authenticated
  using (id in (select p.room_id from public.participants p where p.user_id = (select auth.uid())));
create policy "read in my rooms" on public.messages for select to authenticated
  using (room_id in (select p.room_id from public.participants p where p.user_id = (select auth.uid())));
create policy "write in my rooms" on public.messages for insert to authenticated
  with check (author_id = (select auth.uid()) and room_id in (select p.room_id from public.participants p where p.user_id = (select auth.uid())));
create function public.on_message() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.send(jsonb_build_object('client_id', new.client_id, 'body', new.body, 'author_id', new.author_id), 'message', 'room:' || new.room_id, true);
  return new;
end
$$;
revoke all on function public.on_message() from public, anon, authenticated;
create trigger on_message before insert on public.messages for each row execute function public.on_message();
create policy "participants listen" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) in (select 'room:' || p.room_id from public.participants p where p.user_id = (select auth.uid())));

-- expect: BRC002
-- Kind: broadcast.topic-not-policys: sent to "board:<id>", allowed is "boards:<id>": members join a topic on which nothing is ever said.
create table public.boards (id uuid primary key default gen_random_uuid(), title text not null);
create table public.board_members (
  user_id uuid not null references auth.users on delete cascade,
  board_id uuid not null references public.boards on delete cascade,
  primary key (user_id, board_id)
);
create index on public.board_members (board_id);
create table public.cards (
  board_id uuid not null references public.boards on delete cascade,
  id uuid not null default gen_random_uuid(),
  title text not null,
  lane text not null default 'todo',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (board_id, id)
);
create schema private;
grant usage on schema private to authenticated, service_role;
create function private.my_boards() returns setof uuid language sql stable security definer set search_path = '' as $$
  select m.board_id from public.board_members m where m.user_id = (select auth.uid())
$$;
revoke all on function private.my_boards() from public, anon;
grant execute on function private.my_boards() to authenticated;
create function public.handle_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := clock_timestamp();
    return new;
  end if;
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end
$$;
create trigger cards_handle_updated_at before insert or update on public.cards
  for each row execute function public.handle_updated_at();
alter table public.boards enable row level security;
alter table public.board_members enable row level security;
alter table public.cards enable row level security;
create policy "mine" on public.boards for select to authenticated
  using (id in (select private.my_boards()));
create policy "of my boards" on public.board_members for select to authenticated
  using (board_id in (select private.my_boards()));
create policy "cards of my boards (read)" on public.cards for select to authenticated using (board_id in (select private.my_boards()));
create policy "cards of my boards (add)" on public.cards for insert to authenticated with check (board_id in (select private.my_boards()));
create policy "cards of my boards (change)" on public.cards for update to authenticated using (board_id in (select private.my_boards())) with check (board_id in (select private.my_boards()));
create policy "cards of my boards (remove)" on public.cards for delete to authenticated using (board_id in (select private.my_boards()));
create function private.tell_card() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('board:' || coalesce(new.board_id, old.board_id)::text, tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function private.tell_card() from public, anon, authenticated;
create trigger cards_broadcast after insert or update or delete on public.cards
  for each row execute function private.tell_card();
create policy "members listen to their boards" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) in (select 'boards:' || b from private.my_boards() b));

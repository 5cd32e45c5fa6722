-- expect: BRC004
-- Kind: broadcast.old-topic-after-rename: a card moved to another board is told on the old board's topic only (old is asked first): members of its new board never see it come.
create table public.boards (id bigint generated always as identity primary key, owner_id uuid not null default auth.uid() references auth.users on delete cascade, title text not null);
create index on public.boards (owner_id);
create table public.cards (
  id bigint generated always as identity primary key,
  board_id bigint not null references public.boards on delete cascade,
  title text not null,
  updated_at timestamptz not null default clock_timestamp()
);
create index on public.cards (board_id);
create schema private;
grant usage on schema private to authenticated, service_role;
create function private.own_boards() returns setof bigint language sql stable security definer set search_path = '' as $$
  select b.id from public.boards b where b.owner_id = (select auth.uid())
$$;
revoke all on function private.own_boards() from public, anon;
grant execute on function private.own_boards() to authenticated;
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
create trigger cards_set_updated_at before insert or update on public.cards
  for each row execute function public.set_updated_at();
alter table public.boards enable row level security;
alter table public.cards enable row level security;
create policy "own" on public.boards for select to authenticated
  using (owner_id = (select auth.uid()));
create policy "new" on public.boards for insert to authenticated
  with check (owner_id = (select auth.uid()));
create policy "cards of own boards (read)" on public.cards for select to authenticated using (board_id in (select private.own_boards()));
create policy "cards of own boards (add)" on public.cards for insert to authenticated with check (board_id in (select private.own_boards()));
create policy "cards of own boards (change)" on public.cards for update to authenticated using (board_id in (select private.own_boards())) with check (board_id in (select private.own_boards()));
create policy "cards of own boards (remove)" on public.cards for delete to authenticated using (board_id in (select private.own_boards()));
create function public.card_changed() returns trigger language plpgsql security definer set search_path = '' as $$
declare
  board bigint := new.board_id;
begin
  if tg_op <> 'INSERT' then
    board := old.board_id;
  end if;
  perform realtime.broadcast_changes('board:' || board, tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function public.card_changed() from public, anon, authenticated;
create trigger card_changed after insert or update or delete on public.cards for each row execute function public.card_changed();
create policy "own boards" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) in (select 'board:' || b from private.own_boards() b));

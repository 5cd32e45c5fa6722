-- expect: FUN002
-- Anybody moves the cards of boards he cannot see, to columns of other boards, too.
create table public.boards (
  id uuid primary key default gen_random_uuid(),
  owner_id uuid not null default auth.uid() references auth.users on delete cascade,
  title text not null
);
create index on public.boards (owner_id);
create table public.board_columns (
  id uuid primary key default gen_random_uuid(),
  board_id uuid not null references public.boards on delete cascade,
  title text not null
);
create index on public.board_columns (board_id);
create table public.cards (
  id uuid primary key default gen_random_uuid(),
  column_id uuid not null references public.board_columns on delete cascade,
  title text not null,
  position double precision not null default 0,
  updated_at timestamptz not null default clock_timestamp()
);
create unique index cards_identity on public.cards (column_id, id);
alter table public.cards replica identity using index cards_identity;
create function public.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger cards_touch_updated_at before insert or update on public.cards
  for each row execute function public.touch_updated_at();
alter table public.boards enable row level security;
alter table public.board_columns enable row level security;
alter table public.cards enable row level security;
create policy "my boards" on public.boards for select to authenticated
  using (owner_id = (select auth.uid()));
create policy "new board" on public.boards for insert to authenticated
  with check (owner_id = (select auth.uid()));
create policy "columns of my boards (read)" on public.board_columns for select to authenticated using (board_id in (select b.id from public.boards b where b.owner_id = (select auth.uid())));
create policy "columns of my boards (add)" on public.board_columns for insert to authenticated with check (board_id in (select b.id from public.boards b where b.owner_id = (select auth.uid())));
create policy "columns of my boards (change)" on public.board_columns for update to authenticated using (board_id in (select b.id from public.boards b where b.owner_id = (select auth.uid()))) with check (board_id in (select b.id from public.boards b where b.owner_id = (select auth.uid())));
create policy "columns of my boards (remove)" on public.board_columns for delete to authenticated using (board_id in (select b.id from public.boards b where b.owner_id = (select auth.uid())));
create policy "cards of my boards (read)" on public.cards for select to authenticated using (column_id in (select c.id from public.board_columns c join public.boards b on b.id = c.board_id where b.owner_id = (select auth.uid())));
create policy "cards of my boards (add)" on public.cards for insert to authenticated with check (column_id in (select c.id from public.board_columns c join public.boards b on b.id = c.board_id where b.owner_id = (select auth.uid())));
create policy "cards of my boards (change)" on public.cards for update to authenticated using (column_id in (select c.id from public.board_columns c join public.boards b on b.id = c.board_id where b.owner_id = (select auth.uid()))) with check (column_id in (select c.id from public.board_columns c join public.boards b on b.id = c.board_id where b.owner_id = (select auth.uid())));
create policy "cards of my boards (remove)" on public.cards for delete to authenticated using (column_id in (select c.id from public.board_columns c join public.boards b on b.id = c.board_id where b.owner_id = (select auth.uid())));
create function public.move_card(card uuid, target_column uuid, new_position double precision)
returns public.cards
language sql security definer set search_path = ''
as $$
  update public.cards set column_id = target_column, position = new_position
  where id = card
  returning *
$$;
alter publication supabase_realtime add table public.cards;

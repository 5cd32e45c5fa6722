-- Sound twin of the flaw of this name.
create table public.boards (id uuid primary key default gen_random_uuid(), title text not null, owner_id uuid not null default auth.uid() references auth.users (id) on delete cascade);
create index boards_owner_id_idx on public.boards (owner_id);
create table public.board_columns (
  id uuid primary key default gen_random_uuid(),
  board_id uuid not null references public.boards (id) on delete cascade,
  name text not null,
  position integer not null default 0
);
create index board_columns_board_id_idx on public.board_columns (board_id);
create table public.cards (
  id uuid primary key default gen_random_uuid(),
  column_id uuid not null references public.board_columns (id) on delete cascade,
  author_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  title text not null,
  updated_at timestamptz not null default now()
);
create index cards_column_id_idx on public.cards (column_id);
create index cards_author_id_idx on public.cards (author_id);
create function public.set_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger set_updated_at before insert or update on public.cards
  for each row execute function public.set_updated_at();
alter table public.boards enable row level security;
alter table public.board_columns enable row level security;
alter table public.cards enable row level security;
create policy boards_select on public.boards for select to authenticated using (owner_id = (select auth.uid()));
create policy boards_insert on public.boards for insert to authenticated with check (owner_id = (select auth.uid()));
create policy columns_all on public.board_columns for all to authenticated
  using (board_id in (select b.id from public.boards b where b.owner_id = (select auth.uid())))
  with check (board_id in (select b.id from public.boards b where b.owner_id = (select auth.uid())));
create policy cards_select on public.cards for select to authenticated
  using (column_id in (select c.id from public.board_columns c join public.boards b on b.id = c.board_id where b.owner_id = (select auth.uid())));
create policy cards_insert on public.cards for insert to authenticated
  with check (author_id = (select auth.uid())
    and column_id in (select c.id from public.board_columns c join public.boards b on b.id = c.board_id where b.owner_id = (select auth.uid())));
create policy cards_update on public.cards for update to authenticated
  using (column_id in (select c.id from public.board_columns c join public.boards b on b.id = c.board_id where b.owner_id = (select auth.uid())))
  with check (column_id in (select c.id from public.board_columns c join public.boards b on b.id = c.board_id where b.owner_id = (select auth.uid()))
    and author_id = (select auth.uid()));
create policy cards_delete on public.cards for delete to authenticated
  using (column_id in (select c.id from public.board_columns c join public.boards b on b.id = c.board_id where b.owner_id = (select auth.uid())));
alter table public.cards replica identity full;
alter publication supabase_realtime add table public.cards;

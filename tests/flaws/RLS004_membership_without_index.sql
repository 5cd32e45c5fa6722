-- expect: RLS004
-- Shape: boards and members; the membership table has only a surrogate key.
create table public.board_members (
  id bigint generated always as identity primary key,
  board_id uuid not null,
  user_id uuid not null
);
create table public.cards (
  board_id uuid not null,
  id uuid not null default gen_random_uuid(),
  title text not null,
  primary key (board_id, id)
);
alter table public.board_members enable row level security;
alter table public.cards enable row level security;
create policy everybody_knows on public.board_members for select to authenticated using (true);
create policy members on public.cards for select to authenticated
  using (board_id in (select m.board_id from public.board_members m where m.user_id = (select auth.uid())));
alter publication supabase_realtime add table public.cards;

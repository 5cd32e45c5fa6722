-- expect: RLS002
-- Shape: a party game. Clients were to be kept from reading rooms directly, and so nobody hears of them either.
create table public.players (
  user_id uuid primary key default auth.uid(),
  name text not null
);
alter table public.players enable row level security;
create policy own on public.players for select to authenticated using (user_id = (select auth.uid()));
create table public.rooms (
  id uuid primary key default gen_random_uuid(),
  phase text not null default 'lobby'
);
alter table public.rooms enable row level security;
create policy "Block direct reads" on public.rooms for select using (false);
alter publication supabase_realtime add table public.players, public.rooms;

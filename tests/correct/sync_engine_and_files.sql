-- Shape: a chat beside a sync engine with a publication of its own; pictures by their address, tokens by their hash.
create table public.chats (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null default auth.uid() references auth.users on delete cascade,
  image text,
  og_image text,
  invite_hash bytea,
  salt bytea
);
create index on public.chats (user_id);
alter table public.chats replica identity full;
alter table public.chats enable row level security;
revoke update on public.chats from anon, authenticated;
create policy own on public.chats for select to authenticated using (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.chats;
create table public.invoices (
  id uuid primary key default gen_random_uuid(),
  total int not null
);
alter table public.invoices enable row level security;
alter table public.invoices replica identity full;
create publication warehouse for table public.invoices;
-- Open to read, so the planner never asks the policy that only PostgREST can answer.
create table public.decks (
  id uuid primary key default gen_random_uuid(),
  session text not null
);
alter table public.decks enable row level security;
create policy anyone_reads on public.decks for select using (true);
create policy players_delete on public.decks for delete
  using (session = ((select current_setting('request.headers', true))::json ->> 'x-session'));
revoke update on public.decks from anon, authenticated;
alter publication supabase_realtime add table public.decks;

-- Sound twin of the flaw of this name.
create table public.conversations (id uuid primary key default gen_random_uuid(), subject text not null default '');
create table public.participants (
  conversation_id uuid not null references public.conversations (id) on delete cascade,
  user_id uuid not null references auth.users (id) on delete cascade,
  primary key (conversation_id, user_id)
);
create index participants_user_id_idx on public.participants (user_id);
create table public.messages (
  id uuid primary key default gen_random_uuid(),
  conversation_id uuid not null references public.conversations (id) on delete cascade,
  sender_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  body text not null check (char_length(body) between 1 and 4000),
  sent_at timestamptz not null default now()
);
create index messages_conversation_id_idx on public.messages (conversation_id, sent_at);
create index messages_sender_id_idx on public.messages (sender_id);
-- messages are written once and never changed
revoke update, delete on public.messages from anon, authenticated;
create schema private;
create function private.my_conversations() returns setof uuid language sql stable security definer set search_path = '' as $$
  select p.conversation_id from public.participants p where p.user_id = (select auth.uid())
$$;
revoke all on function private.my_conversations() from public, anon;
grant execute on function private.my_conversations() to authenticated, service_role;
alter table public.conversations enable row level security;
alter table public.participants enable row level security;
alter table public.messages enable row level security;
create policy "see own conversations" on public.conversations for select to authenticated using (id in (select private.my_conversations()));
create policy "see fellow participants" on public.participants for select to authenticated using (conversation_id in (select private.my_conversations()));
create policy "read messages" on public.messages for select to authenticated using (conversation_id in (select private.my_conversations()));
create policy "send messages" on public.messages for insert to authenticated
  with check (sender_id = (select auth.uid()) and conversation_id in (select private.my_conversations()));
alter table public.messages replica identity full;
alter publication supabase_realtime add table public.messages;

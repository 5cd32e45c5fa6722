-- expect: BRC001
-- Kind: broadcast.public-topic: the message is sent to a public topic (private => false): whoever knows or guesses the conversation's id hears it with the anon key.
create schema private;
grant usage on schema private to authenticated;
create table public.conversations (
  id uuid primary key default gen_random_uuid(),
  customer_id uuid not null default auth.uid() references auth.users on delete cascade,
  opened_at timestamptz not null default now()
);
create index on public.conversations (customer_id);
create table public.support_messages (
  id bigint generated always as identity primary key,
  conversation_id uuid not null references public.conversations on delete cascade,
  author_id uuid not null default auth.uid() references auth.users,
  body text not null,
  created_at timestamptz not null default now()
);
create index on public.support_messages (conversation_id);
create index on public.support_messages (author_id);
alter table public.conversations enable row level security;
alter table public.support_messages enable row level security;
create policy "own conversations" on public.conversations for select to authenticated
  using (customer_id = (select auth.uid()));
create policy "open a conversation" on public.conversations for insert to authenticated
  with check (customer_id = (select auth.uid()));
create policy "messages of own conversations" on public.support_messages for select to authenticated
  using (conversation_id in (select c.id from public.conversations c where c.customer_id = (select auth.uid())));
create policy "write in own conversations" on public.support_messages for insert to authenticated
  with check (author_id = (select auth.uid()) and conversation_id in (select c.id from public.conversations c where c.customer_id = (select auth.uid())));
create function private.tell_support_message() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.send(
    jsonb_build_object('id', new.id, 'author_id', new.author_id, 'body', new.body),
    'message',
    'conversation:' || new.conversation_id,
    false
  );
  return null;
end
$$;
revoke all on function private.tell_support_message() from public;
create trigger tell after insert on public.support_messages for each row execute function private.tell_support_message();
create policy "customers listen to their conversations" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and exists (select 1 from public.conversations c where c.customer_id = (select auth.uid()) and 'conversation:' || c.id = (select realtime.topic())));

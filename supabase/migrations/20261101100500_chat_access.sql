-- Who may do what: a user, what hangs on their own conversations; service_role, everything; anon, nothing.
-- Supabase grants all on new tables in public to the API roles, so that is taken back first.

revoke all on public.conversations, public.tasks, public.messages, public.message_chunks, public.realtime_watermarks
  from public, anon, authenticated, service_role;
grant select, insert, update, delete on public.conversations, public.tasks, public.messages
  to authenticated, service_role;
-- Stored text is never rewritten; chunks go with their message.
grant select, insert on public.message_chunks to authenticated;
grant select, insert, update, delete on public.message_chunks to service_role;
grant select, insert, delete on public.realtime_watermarks to authenticated;
grant select, insert, update, delete on public.realtime_watermarks to service_role;

alter table public.conversations enable row level security;
alter table public.tasks enable row level security;
alter table public.messages enable row level security;
alter table public.message_chunks enable row level security;
alter table public.realtime_watermarks enable row level security;

-- auth.uid() in a sub-select is evaluated once a query rather than once a row, and the list of a user's
-- conversations becomes a hash table.
create policy conversations_own on public.conversations for all to authenticated
  using (user_id = (select auth.uid()))
  with check (user_id = (select auth.uid()));

create policy tasks_own on public.tasks for all to authenticated
  using (conversation_id in (select c.id from public.conversations c where c.user_id = (select auth.uid())))
  with check (conversation_id in (select c.id from public.conversations c where c.user_id = (select auth.uid())));

create policy messages_own on public.messages for all to authenticated
  using (conversation_id in (select c.id from public.conversations c where c.user_id = (select auth.uid())))
  with check (conversation_id in (select c.id from public.conversations c where c.user_id = (select auth.uid())));

create policy message_chunks_read_own on public.message_chunks for select to authenticated
  using (conversation_id in (select c.id from public.conversations c where c.user_id = (select auth.uid())));
create policy message_chunks_add_own on public.message_chunks for insert to authenticated
  with check (conversation_id in (select c.id from public.conversations c where c.user_id = (select auth.uid())));

create policy realtime_watermarks_read_own on public.realtime_watermarks for select to authenticated
  using (user_id = (select auth.uid()));
create policy realtime_watermarks_add_own on public.realtime_watermarks for insert to authenticated
  with check (user_id = (select auth.uid()));
create policy realtime_watermarks_clear_own on public.realtime_watermarks for delete to authenticated
  using (user_id = (select auth.uid()));

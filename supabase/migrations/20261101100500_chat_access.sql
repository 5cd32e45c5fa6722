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
  using (user_id = (select auth.jwt() ->> 'sub'));
create policy realtime_watermarks_add_own on public.realtime_watermarks for insert to authenticated
  with check (user_id = (select auth.jwt() ->> 'sub'));
create policy realtime_watermarks_clear_own on public.realtime_watermarks for delete to authenticated
  using (user_id = (select auth.jwt() ->> 'sub'));

-- What a client may say ----------------------------------------------------------------------------

-- Row level security tells whose rows; these triggers tell which columns. A client (whoever RLS holds for) says
-- what a user has to say: a prompt, a message of their own, "stop". Attempt, lease, progress, error, chunks and
-- every other status are the worker's, and a worker may be a user, too: so they are written through the functions
-- of the next migrations. Those are SECURITY INVOKER, which keeps RLS on whatever happens, and mark the one
-- statement they make; grants by column would stop them as well. The mark is worth nothing in another
-- transaction, and no API lets a client set it.
-- A new row begins as new rows do, whatever a client sends for the worker's columns, as with the stamps of tracking;
-- one that says it has ended is refused rather than run, and so is every change.

create function realtime_toolkit.mark_work(begins boolean) returns void
language sql set search_path = ''
as $$
  select set_config('realtime_toolkit.work', case when begins then pg_current_xact_id()::text else '' end, true)
$$;
comment on function realtime_toolkit.mark_work(boolean) is 'Before and after a worker''s own statement.';

create function realtime_toolkit.is_work() returns boolean
language sql stable set search_path = ''
as $$
  select coalesce(current_setting('realtime_toolkit.work', true) = pg_current_xact_id_if_assigned()::text, false)
$$;
comment on function realtime_toolkit.is_work() is 'Whether the statement that runs is a worker''s own.';

revoke all on function realtime_toolkit.mark_work(boolean), realtime_toolkit.is_work()
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.mark_work(boolean), realtime_toolkit.is_work()
  to authenticated, service_role;

-- The names of the columns in which two rows differ, of those that are in both.
create function realtime_toolkit.differing(one jsonb, other jsonb) returns text[]
language sql immutable set search_path = ''
as $$
  select coalesce(array_agg(key order by key), '{}')
  from jsonb_each(one) o join jsonb_each(other) t using (key)
  where o.value <> t.value
$$;
revoke all on function realtime_toolkit.differing(jsonb, jsonb) from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.differing(jsonb, jsonb) to authenticated, service_role;

create function realtime_toolkit.refuse_column(relation text, columns text[]) returns void
language plpgsql set search_path = ''
as $$
begin
  raise exception '%: % cannot be set by a client', relation, array_to_string(columns, ', ')
    using errcode = 'insufficient_privilege',
      hint = 'What a worker says goes through claim_task, append_chunk, finish_task and their like; '
        'cancel_task, or the status cancelled, is what a client says.';
end
$$;
revoke all on function realtime_toolkit.refuse_column(text, text[]) from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.refuse_column(text, text[]) to authenticated, service_role;

create function realtime_toolkit.client_says_task() returns trigger
language plpgsql set search_path = ''
as $$
declare
  said text[] := '{}';
begin
  if realtime_toolkit.is_work() then
    return new;
  elsif tg_op = 'INSERT' then
    if new.status = 'running' then
      new.status := 'pending';
    elsif new.status <> 'pending' then
      said := '{status}';
    end if;
    new.attempt := 1;
    new.progress := 0;
    new.error := null;
    new.lease_owner := null;
    new.lease_expires_at := null;
    new.started_at := null;
    new.completed_at := null;
  else
    said := realtime_toolkit.differing(to_jsonb(new),
      to_jsonb(old) - '{id, conversation_id, created_at, updated_at, version, changed_in}'::text[]);
    if old.status = 'pending' then
      said := array_remove(array_remove(said, 'prompt'), 'agent_role');
    end if;
    if new.status = 'cancelled' then
      said := array_remove(said, 'status');
    end if;
  end if;
  if said <> '{}' then
    perform realtime_toolkit.refuse_column('tasks', said);
  end if;
  return new;
end
$$;
comment on function realtime_toolkit.client_says_task() is
  'BEFORE a client''s INSERT or UPDATE: conversation, agent_role and prompt of a pending task, and "stop".';

-- An assistant's or a tool's message begins empty, for a user who runs an agent; system is the service's to say.
create function realtime_toolkit.client_says_message() returns trigger
language plpgsql set search_path = ''
as $$
declare
  own constant boolean := new.role = 'user';
  said text[];
begin
  if realtime_toolkit.is_work() then
    return new;
  elsif tg_op = 'INSERT' then
    if new.status = 'streaming' then
      new.status := 'pending';
    end if;
    new.attempt := 1;
    said := case when new.role = 'system' then array['role'] else '{}' end
      || case when not own and new.content <> '' then array['content'] else '{}' end
      || case when new.status = 'pending' or (own and new.status = 'completed') then '{}' else array['status'] end;
  else
    said := realtime_toolkit.differing(to_jsonb(new),
      to_jsonb(old) - '{id, conversation_id, created_at, updated_at, version, changed_in}'::text[]);
    if own and old.status in ('pending', 'streaming') then
      said := array_remove(said, 'content');
    end if;
    if new.status = 'cancelled' or (own and new.status = 'completed') then
      said := array_remove(said, 'status');
    end if;
  end if;
  if said <> '{}' then
    perform realtime_toolkit.refuse_column('messages', said);
  end if;
  return new;
end
$$;
comment on function realtime_toolkit.client_says_message() is
  'BEFORE a client''s INSERT or UPDATE: a user''s own words until they are completed, and "stop".';

create function realtime_toolkit.client_says_chunk() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if not realtime_toolkit.is_work() then
    perform realtime_toolkit.refuse_column('message_chunks', array['body']);
  end if;
  return new;
end
$$;
comment on function realtime_toolkit.client_says_chunk() is 'BEFORE a client''s INSERT: refused, there is append_chunk.';

revoke all on function realtime_toolkit.client_says_task(), realtime_toolkit.client_says_message(),
  realtime_toolkit.client_says_chunk()
  from public, anon, authenticated, service_role;

create trigger client_says before insert or update on public.tasks
  for each row when (row_security_active('public.tasks'::regclass))
  execute function realtime_toolkit.client_says_task();
create trigger client_says before insert or update on public.messages
  for each row when (row_security_active('public.messages'::regclass))
  execute function realtime_toolkit.client_says_message();
create trigger client_says before insert on public.message_chunks
  for each row when (row_security_active('public.message_chunks'::regclass))
  execute function realtime_toolkit.client_says_chunk();

-- A user's watermarks: no more than a hundred at once, and the last five hundred of each user's are kept. The
-- oldest are of listeners that are gone; reconciliation clears its own.
create function realtime_toolkit.limit_watermarks() returns trigger
language plpgsql set search_path = ''
as $$
declare
  each record;
begin
  for each in select i.user_id, count(*) as number from inserted i group by i.user_id loop
    if each.number > 100 then
      raise exception 'realtime_watermarks: % marks at once are too many', each.number
        using errcode = 'program_limit_exceeded', hint = 'A hundred are the most.';
    end if;
    delete from public.realtime_watermarks w where w.user_id = each.user_id and w.id in (
      select o.id from public.realtime_watermarks o
      where o.user_id = each.user_id and not exists (select from inserted i where i.id = o.id)
      order by o.created_at desc, o.id offset 500 - each.number);
  end loop;
  return null;
end
$$;
comment on function realtime_toolkit.limit_watermarks() is
  'AFTER INSERT: refuses more than a hundred at once, and keeps the last five hundred of each user''s.';
revoke all on function realtime_toolkit.limit_watermarks() from public, anon, authenticated, service_role;
create trigger limit_watermarks after insert on public.realtime_watermarks
  referencing new table as inserted for each statement
  execute function realtime_toolkit.limit_watermarks();

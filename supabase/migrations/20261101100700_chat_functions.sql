-- What must be atomic. All are SECURITY INVOKER (a user reaches their own rows only), safe to repeat when the
-- outcome of a call is unknown, and raise by SQLSTATE:
--   RT001  another attempt has taken the task or message over
--   RT002  the status cannot go there
--   RT003  stored text and sent text differ, or stored text has a hole
--   RT004  no such row, or not visible
-- Rows are always locked before they are judged, so a reaper at the same moment is either seen or waits: first
-- the task, then its messages.

-- A worker's own statements, which a client cannot make by themselves (realtime_toolkit.client_says_task and its
-- like). Each is the caller's still: RLS decides.
create function realtime_toolkit.put_task(held public.tasks) returns public.tasks
language plpgsql set search_path = ''
as $$
begin
  perform realtime_toolkit.mark_work(true);
  update public.tasks t set
    status = held.status, progress = held.progress, error = held.error, attempt = held.attempt,
    lease_owner = held.lease_owner, lease_expires_at = held.lease_expires_at
  where t.id = held.id
  returning * into held;
  perform realtime_toolkit.mark_work(false);
  return held;
end
$$;
comment on function realtime_toolkit.put_task(public.tasks) is 'Stores what a worker made of a task: the task.';

create function realtime_toolkit.put_message(held public.messages) returns public.messages
language plpgsql set search_path = ''
as $$
begin
  perform realtime_toolkit.mark_work(true);
  update public.messages m set status = held.status, content = held.content, attempt = held.attempt
  where m.id = held.id
  returning * into held;
  perform realtime_toolkit.mark_work(false);
  return held;
end
$$;
comment on function realtime_toolkit.put_message(public.messages) is
  'Stores what a worker made of a message: the message.';

-- Whether an error is of the row at hand, and not of the server, a lock or a right: then other rows may do better.
create function realtime_toolkit.is_of_the_row(code text) returns boolean
language sql immutable set search_path = ''
as $$ select left(code, 2) in ('22', '23', '54', 'P0') $$;

revoke all on function realtime_toolkit.put_task(public.tasks), realtime_toolkit.put_message(public.messages),
  realtime_toolkit.is_of_the_row(text)
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.put_task(public.tasks), realtime_toolkit.put_message(public.messages),
  realtime_toolkit.is_of_the_row(text)
  to authenticated, service_role;

-- Tasks -------------------------------------------------------------------------------------------

-- Takes the oldest pending task (or the one that is named) under a lease; null if there is none. Repeated
-- for a named task that this worker already has, it renews the lease. `worker` must be unique among workers
-- that are running. A task that cannot be claimed is passed over, and its error raised only where nothing else is
-- left.
create function public.claim_task(
  worker text, lease_seconds integer default 30, task uuid default null, roles text[] default null
) returns jsonb
language plpgsql set search_path = '' set timezone = 'UTC'
as $$
declare
  chosen public.tasks;
  passed uuid[] := '{}';
  code text;
  problem text;
begin
  if worker is null or lease_seconds is null or lease_seconds <= 0 then
    raise exception 'a lease needs a worker and a positive number of seconds' using errcode = 'invalid_parameter_value';
  end if;
  while cardinality(passed) < 100 loop
    if claim_task.task is null then
      select * into chosen from public.tasks t
      where t.status = 'pending' and (roles is null or t.agent_role = any (roles)) and t.id <> all (passed)
      order by t.created_at
      limit 1
      for no key update skip locked;
    else
      select * into chosen from public.tasks t
      where t.id = claim_task.task and (roles is null or t.agent_role = any (roles)) and t.id <> all (passed)
        and (t.status = 'pending' or (t.status = 'running' and t.lease_owner = worker))
      for no key update;
    end if;
    exit when not found;
    begin
      chosen.status := 'running';
      chosen.lease_owner := worker;
      chosen.lease_expires_at := clock_timestamp() + make_interval(secs => lease_seconds);
      return to_jsonb(realtime_toolkit.put_task(chosen));
    exception when others then
      get stacked diagnostics code = returned_sqlstate, problem = message_text;
      if not realtime_toolkit.is_of_the_row(code) then
        raise;
      end if;
      passed := passed || chosen.id;
      raise warning 'task % cannot be claimed: %', chosen.id, problem;
    end;
  end loop;
  if passed <> '{}' then
    raise exception 'task % cannot be claimed: %', passed[cardinality(passed)], problem using errcode = code;
  end if;
  return null;
end
$$;
comment on function public.claim_task(text, integer, uuid, text[]) is
  'Takes a pending task under a lease: the task, or null.';

-- The task, locked. A worker whose lease was taken over gets RT001; who may have ended it is the caller's to see.
create function realtime_toolkit.leased_task(task uuid, worker text, attempt integer) returns public.tasks
language plpgsql set search_path = ''
as $$
declare
  held public.tasks;
begin
  select * into held from public.tasks t where t.id = leased_task.task for no key update;
  if not found then
    raise exception 'no task %', coalesce(leased_task.task::text, 'null') using errcode = 'RT004';
  end if;
  if held.attempt is distinct from leased_task.attempt
    or (held.lease_owner is distinct from worker and held.status in ('pending', 'running'))
  then
    raise exception 'task % is at attempt % (%), so attempt % of worker % is over', held.id, held.attempt, held.status,
      leased_task.attempt, worker using errcode = 'RT001';
  end if;
  return held;
end
$$;
revoke all on function realtime_toolkit.leased_task(uuid, text, integer) from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.leased_task(uuid, text, integer) to authenticated, service_role;

-- Prolongs the lease of a running task; of one that has ended it only tells the status, which is how a
-- worker learns that its task was cancelled.
create function public.renew_task(
  task uuid, worker text, attempt integer, lease_seconds integer default 30, progress real default null
) returns jsonb
language plpgsql set search_path = '' set timezone = 'UTC'
as $$
declare
  held public.tasks := realtime_toolkit.leased_task(task, worker, attempt);
begin
  if held.status = 'running' then
    held.lease_expires_at := clock_timestamp() + make_interval(secs => lease_seconds);
    held.progress := coalesce(renew_task.progress, held.progress);
    held := realtime_toolkit.put_task(held);
  end if;
  return jsonb_build_object('status', held.status, 'lease_expires_at', held.lease_expires_at);
end
$$;
comment on function public.renew_task(uuid, text, integer, integer, real) is
  'Prolongs a lease: {status, lease_expires_at}.';

create function public.finish_task(task uuid, worker text, attempt integer, status text, error text default null)
returns jsonb
language plpgsql set search_path = '' set timezone = 'UTC'
as $$
declare
  held public.tasks := realtime_toolkit.leased_task(task, worker, attempt);
begin
  if finish_task.status is null or finish_task.status not in ('completed', 'failed', 'cancelled') then
    raise exception 'task %: % is not an outcome', held.id, coalesce(quote_literal(finish_task.status), 'null')
      using errcode = 'RT002';
  end if;
  if held.status is distinct from finish_task.status then
    held.status := finish_task.status;
    held.error := finish_task.error;
    if finish_task.status = 'completed' then
      held.progress := 1;
    end if;
    held := realtime_toolkit.put_task(held);
  end if;
  return to_jsonb(held);
end
$$;
comment on function public.finish_task(uuid, text, integer, text, text) is
  'Records a task''s outcome, which ends its messages, too: the task.';

-- What a user says who wants no more of it. A task that has ended stays as it is, and one whose answer is complete
-- is completed.
create function public.cancel_task(task uuid) returns jsonb
language plpgsql set search_path = '' set timezone = 'UTC'
as $$
declare
  held public.tasks;
begin
  select * into held from public.tasks t where t.id = cancel_task.task for no key update;
  if not found then
    raise exception 'no task %', coalesce(cancel_task.task::text, 'null') using errcode = 'RT004';
  end if;
  if held.status in ('pending', 'running') then
    update public.tasks t set status = 'cancelled' where t.id = held.id returning * into held;
  end if;
  return to_jsonb(held);
end
$$;
comment on function public.cancel_task(uuid) is 'Ends a task, and its messages with the text so far: the task.';

-- Tasks whose lease is over go back to pending as a new attempt, and so do their unfinished messages. Rows
-- that somebody is just working on are left for the next time, and one that cannot be given back stops no other.
create function public.reap_tasks(max integer default 100) returns jsonb
language plpgsql set search_path = '' set timezone = 'UTC'
as $$
declare
  expired public.tasks;
  unfinished public.messages;
  reaped uuid[] := '{}';
begin
  for expired in
    select * from public.tasks t
    where t.status = 'running' and t.lease_expires_at < clock_timestamp()
    order by t.lease_expires_at
    for no key update skip locked
  loop
    exit when cardinality(reaped) >= coalesce(reap_tasks.max, 100);
    begin
      expired.status := 'pending';
      expired.attempt := expired.attempt + 1;
      expired := realtime_toolkit.put_task(expired);
      for unfinished in
        select * from public.messages m
        where m.task_id = expired.id and m.status in ('pending', 'streaming') for no key update
      loop
        unfinished.status := 'pending';
        unfinished.attempt := greatest(unfinished.attempt + 1, expired.attempt);
        perform realtime_toolkit.put_message(unfinished);
      end loop;
      reaped := reaped || expired.id;
    exception when others then
      if not realtime_toolkit.is_of_the_row(sqlstate) then
        raise;
      end if;
      raise warning 'task % cannot be given back: %', expired.id, sqlerrm;
    end;
  end loop;
  return to_jsonb(reaped);
end
$$;
comment on function public.reap_tasks(integer) is 'Returns tasks with expired leases to pending: their ids.';

-- Messages ----------------------------------------------------------------------------------------

-- The message, locked, if it is still at this attempt. The lock for a chunk is FOR SHARE: chunks do not
-- wait for each other, and neither a reaper nor an end can slip in between.
create function realtime_toolkit.held_message(message uuid, attempt integer, share boolean default false)
returns public.messages
language plpgsql set search_path = ''
as $$
declare
  held public.messages;
begin
  if share then
    select * into held from public.messages m where m.id = held_message.message for share;
  else
    select * into held from public.messages m where m.id = held_message.message for no key update;
  end if;
  if held.id is null then
    raise exception 'no message %', coalesce(held_message.message::text, 'null') using errcode = 'RT004';
  end if;
  if held.attempt is distinct from held_message.attempt then
    raise exception 'message % is at attempt %, so attempt % is over', held.id, held.attempt, held_message.attempt
      using errcode = 'RT001';
  end if;
  return held;
end
$$;
revoke all on function realtime_toolkit.held_message(uuid, integer, boolean)
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.held_message(uuid, integer, boolean) to authenticated, service_role;

-- The chunks of an attempt, in order; `fits` until there is a hole in seq or position.
create function realtime_toolkit.pieces(message uuid, attempt integer)
returns table (seq integer, body text, fits boolean)
language sql stable set search_path = ''
as $$
  select c.seq, c.body, bool_and(c.seq = c.nth - 1 and c."position" = c.before) over (order by c.seq)
  from (
    select k.seq, k."position", k.body, row_number() over w as nth,
      coalesce(sum(char_length(k.body)) over (w rows between unbounded preceding and 1 preceding), 0) as before
    from public.message_chunks k
    where k.message_id = pieces.message and k.attempt = pieces.attempt
    window w as (order by k.seq)
  ) c
$$;

-- The text that the chunks of an attempt make; RT003 where seq or position has a hole.
create function realtime_toolkit.assembled(message uuid, attempt integer) returns text
language plpgsql set search_path = ''
as $$
declare
  content text;
  hole integer;
begin
  select string_agg(p.body, '' order by p.seq), min(p.seq) filter (where not p.fits) into content, hole
  from realtime_toolkit.pieces(message, attempt) p;
  if hole is not null then
    raise exception 'message %, attempt %: the chunks have a hole before seq %', message, attempt, hole
      using errcode = 'RT003';
  end if;
  return coalesce(content, '');
end
$$;
revoke all on function realtime_toolkit.pieces(uuid, integer), realtime_toolkit.assembled(uuid, integer)
  from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.pieces(uuid, integer), realtime_toolkit.assembled(uuid, integer)
  to authenticated, service_role;

-- However a task ends (its worker says so, a user cancels or deletes it, somebody sets it), what is unfinished of
-- its messages ends with it, in the same transaction and with the text that is stored: nothing stays streaming for
-- ever, whoever dies. A completed task's unfinished message has failed. A user's own words are not of the task's
-- making, and a message that never had a task is its writer's alone, who may come back to it.
create function realtime_toolkit.end_messages() returns trigger
language plpgsql set search_path = ''
as $$
declare
  ended constant public.tasks := case tg_op when 'DELETE' then old else new end;
  unfinished public.messages;
  stored text;
begin
  if tg_op = 'DELETE' and not exists (select from public.conversations c where c.id = ended.conversation_id) then
    return old;  -- all of it goes
  end if;
  for unfinished in
    select * from public.messages m
    where m.task_id = ended.id and m.status in ('pending', 'streaming') and m.role <> 'user' for no key update
  loop
    select string_agg(p.body, '' order by p.seq) filter (where p.fits) into stored
    from realtime_toolkit.pieces(unfinished.id, unfinished.attempt) p;
    unfinished.status := case ended.status when 'failed' then 'failed' when 'completed' then 'failed'
      else 'cancelled' end;
    unfinished.content := coalesce(stored, unfinished.content);
    perform realtime_toolkit.put_message(unfinished);
  end loop;
  return ended;
end
$$;
comment on function realtime_toolkit.end_messages() is
  'AFTER a task has ended, BEFORE it is deleted: ends what is unfinished of its messages, with the text that is stored.';

-- … and one that comes too late has ended before it began. FOR SHARE waits for whoever is just ending the task.
create function realtime_toolkit.end_late_message() returns trigger
language plpgsql set search_path = ''
as $$
declare
  outcome text;
begin
  select t.status into outcome from public.tasks t
  where t.id = new.task_id and t.conversation_id = new.conversation_id for share;
  if outcome in ('completed', 'failed', 'cancelled') then
    new.status := case outcome when 'completed' then 'failed' else outcome end;
  end if;
  return new;
end
$$;
comment on function realtime_toolkit.end_late_message() is
  'BEFORE an unfinished message is inserted for a task that has ended: ends it.';
revoke all on function realtime_toolkit.end_messages(), realtime_toolkit.end_late_message()
  from public, anon, authenticated, service_role;

create trigger end_messages after update of status on public.tasks
  for each row when (old.status <> new.status and new.status in ('completed', 'failed', 'cancelled'))
  execute function realtime_toolkit.end_messages();
create trigger end_deleted_messages before delete on public.tasks
  for each row execute function realtime_toolkit.end_messages();
create trigger end_late_message before insert on public.messages
  for each row
  when (new.task_id is not null and new.status in ('pending', 'streaming') and new.role <> 'user')
  execute function realtime_toolkit.end_late_message();

-- The message that a task's answer goes into, made if there is none: for the worker that has the task, so nobody
-- else can put theirs in its place. Its id is nobody's to guess.
create function public.begin_answer(task uuid, worker text, attempt integer) returns jsonb
language plpgsql set search_path = '' set timezone = 'UTC'
as $$
declare
  held public.tasks := realtime_toolkit.leased_task(task, worker, attempt);
  answer public.messages;
begin
  if held.status <> 'running' then
    raise exception 'task % is %, so it gets no answer', held.id, held.status using errcode = 'RT002';
  end if;
  select * into answer from public.messages m
  where m.task_id = held.id and m.role = 'assistant'
    and (m.attempt <= held.attempt or m.status in ('completed', 'failed', 'cancelled'))
  order by m.created_at, m.id
  limit 1
  for no key update;
  if not found then
    perform realtime_toolkit.mark_work(true);
    insert into public.messages (conversation_id, task_id, role, attempt)
    values (held.conversation_id, held.id, 'assistant', held.attempt)
    returning * into answer;
    perform realtime_toolkit.mark_work(false);
  elsif answer.status in ('pending', 'streaming') and answer.attempt < held.attempt then
    answer.status := 'pending';
    answer.attempt := held.attempt;
    answer := realtime_toolkit.put_message(answer);
  end if;
  return to_jsonb(answer) - 'content';
end
$$;
comment on function public.begin_answer(uuid, text, integer) is
  'The message of a leased task''s answer, made if need be: the message without content.';

-- pending → streaming. What an earlier attempt had left in content is dropped.
create function public.start_message(message uuid, attempt integer) returns jsonb
language plpgsql set search_path = '' set timezone = 'UTC'
as $$
declare
  held public.messages := realtime_toolkit.held_message(message, attempt);
begin
  if held.status <> 'streaming' then
    held.status := 'streaming';
    held.content := '';
    held := realtime_toolkit.put_message(held);
  end if;
  return to_jsonb(held) - 'content';
end
$$;
comment on function public.start_message(uuid, integer) is 'Begins a message''s attempt: the message without content.';

-- Stores one piece. A repeated call finds it stored and says so; one that differs is refused.
create function public.append_chunk(message uuid, attempt integer, seq integer, "position" integer, body text)
returns jsonb
language plpgsql set search_path = ''
as $$
#variable_conflict use_column
declare
  held public.messages := realtime_toolkit.held_message(message, attempt, share => true);
  stored public.message_chunks;
  fresh boolean;
begin
  if held.status = 'streaming' then
    perform realtime_toolkit.mark_work(true);
    insert into public.message_chunks (message_id, attempt, seq, conversation_id, "position", body)
    values (held.id, held.attempt, append_chunk.seq, held.conversation_id, append_chunk."position", append_chunk.body)
    on conflict do nothing;
    fresh := found;
    perform realtime_toolkit.mark_work(false);
    if fresh then
      return '{"stored": true}';
    end if;
  end if;
  select * into stored from public.message_chunks c
  where c.message_id = held.id and c.attempt = held.attempt and c.seq = append_chunk.seq;
  if not found then
    raise exception 'message % is %, so it takes no more text', held.id, held.status using errcode = 'RT002';
  end if;
  if (stored."position", stored.body) is distinct from (append_chunk."position", append_chunk.body) then
    raise exception 'message %, attempt %: another text is stored as chunk %', held.id, held.attempt, stored.seq
      using errcode = 'RT003';
  end if;
  return '{"stored": false}';
end
$$;
comment on function public.append_chunk(uuid, integer, integer, integer, text) is
  'Stores one piece of a streaming message: {stored}, false if it was there already.';

-- Brings content up to date while the message streams: with the text given, or with what the chunks make.
create function public.checkpoint_message(message uuid, attempt integer, content text) returns jsonb
language plpgsql set search_path = ''
as $$
declare
  held public.messages := realtime_toolkit.held_message(message, attempt);
begin
  if held.status <> 'streaming' then
    raise exception 'message % is %, so it takes no more text', held.id, held.status using errcode = 'RT002';
  end if;
  content := coalesce(checkpoint_message.content, realtime_toolkit.assembled(held.id, held.attempt));
  if held.content <> checkpoint_message.content then
    held.content := checkpoint_message.content;
    perform realtime_toolkit.put_message(held);
  end if;
  return jsonb_build_object('length', char_length(checkpoint_message.content));
end
$$;
comment on function public.checkpoint_message(uuid, integer, text) is
  'Rewrites a streaming message''s content (null: from its chunks): {length} in characters.';

-- The end of a message: its whole text (null: from its chunks), checked against the writer's own count of
-- characters and SHA-256 of the UTF-8 (either null: unknown to the caller, who may be clearing up after another).
create function public.finish_message(
  message uuid, attempt integer, status text, length integer, sha256 text, content text default null
) returns jsonb
language plpgsql set search_path = '' set timezone = 'UTC'
as $$
#variable_conflict use_column
declare
  held public.messages := realtime_toolkit.held_message(message, attempt);
  whole text;
begin
  if finish_message.status is null or finish_message.status not in ('completed', 'failed', 'cancelled') then
    raise exception 'message %: % is not an outcome', held.id, coalesce(quote_literal(finish_message.status), 'null')
      using errcode = 'RT002';
  end if;
  if held.status in ('completed', 'failed', 'cancelled') and held.status <> finish_message.status then
    raise exception 'message % is already %', held.id, held.status using errcode = 'RT002';
  end if;
  whole := coalesce(finish_message.content, case when held.status = finish_message.status then held.content
    else realtime_toolkit.assembled(held.id, held.attempt) end);
  if char_length(whole) <> finish_message.length
    or encode(sha256(convert_to(whole, 'UTF8')), 'hex') <> lower(finish_message.sha256)
    or (held.status = finish_message.status and held.content <> whole)
  then
    raise exception 'message %, attempt %: the text stored (% characters) is not the text written',
      held.id, held.attempt, char_length(whole)
      using errcode = 'RT003';
  end if;
  if held.status <> finish_message.status then
    held.status := finish_message.status;
    held.content := whole;
    held := realtime_toolkit.put_message(held);
  end if;
  return to_jsonb(held) - 'content';
end
$$;
comment on function public.finish_message(uuid, integer, text, integer, text, text) is
  'Ends a message with its whole text, checked by length and SHA-256: the message without content.';

-- What is stored of an attempt, for a worker that comes back to it.
create function public.resume_message(message uuid, attempt integer) returns jsonb
language plpgsql set search_path = ''
as $$
#variable_conflict use_column
declare
  held public.messages := realtime_toolkit.held_message(message, attempt, share => true);
  stored jsonb;
begin
  select jsonb_build_object('attempt', held.attempt, 'next_seq', coalesce(max(c.seq) + 1, 0),
    'length', coalesce(sum(char_length(c.body)), 0)) into stored
  from public.message_chunks c
  where c.message_id = held.id and c.attempt = held.attempt;
  return stored;
end
$$;
comment on function public.resume_message(uuid, integer) is
  'What is stored of an attempt: {attempt, next_seq, length}.';

revoke all on function
  public.claim_task(text, integer, uuid, text[]), public.renew_task(uuid, text, integer, integer, real),
  public.finish_task(uuid, text, integer, text, text), public.reap_tasks(integer),
  public.cancel_task(uuid), public.begin_answer(uuid, text, integer), public.start_message(uuid, integer), public.append_chunk(uuid, integer, integer, integer, text),
  public.checkpoint_message(uuid, integer, text), public.finish_message(uuid, integer, text, integer, text, text),
  public.resume_message(uuid, integer)
from public, anon, authenticated, service_role;
grant execute on function
  public.claim_task(text, integer, uuid, text[]), public.renew_task(uuid, text, integer, integer, real),
  public.finish_task(uuid, text, integer, text, text), public.reap_tasks(integer),
  public.cancel_task(uuid), public.begin_answer(uuid, text, integer), public.start_message(uuid, integer), public.append_chunk(uuid, integer, integer, integer, text),
  public.checkpoint_message(uuid, integer, text), public.finish_message(uuid, integer, text, integer, text, text),
  public.resume_message(uuid, integer)
to authenticated, service_role;

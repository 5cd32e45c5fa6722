-- What must be atomic. All are SECURITY INVOKER (a user reaches their own rows only), safe to repeat when the
-- outcome of a call is unknown, and raise by SQLSTATE:
--   RT001  another attempt has taken the task or message over
--   RT002  the status cannot go there
--   RT003  stored text and sent text differ, or stored text has a hole
--   RT004  no such row, or not visible
-- Rows are always locked before they are judged, so a reaper at the same moment is either seen or waits.

-- Tasks -------------------------------------------------------------------------------------------

-- Takes the oldest pending task (or the one that is named) under a lease; null if there is none. Repeated
-- for a named task that this worker already has, it renews the lease. `worker` must be unique among workers
-- that are running.
create function public.claim_task(
  worker text, lease_seconds integer default 30, task uuid default null, roles text[] default null
) returns jsonb
language plpgsql set search_path = '' set timezone = 'UTC'
as $$
declare
  chosen uuid;
  claimed public.tasks;
begin
  if worker is null or lease_seconds is null or lease_seconds <= 0 then
    raise exception 'a lease needs a worker and a positive number of seconds' using errcode = 'invalid_parameter_value';
  end if;
  if claim_task.task is null then
    select t.id into chosen from public.tasks t
    where t.status = 'pending' and (roles is null or t.agent_role = any (roles))
    order by t.created_at
    limit 1
    for no key update skip locked;
  else
    select t.id into chosen from public.tasks t
    where t.id = claim_task.task and (roles is null or t.agent_role = any (roles))
      and (t.status = 'pending' or (t.status = 'running' and t.lease_owner = worker))
    for no key update;
  end if;
  if chosen is null then
    return null;
  end if;
  update public.tasks t set
    status = 'running', lease_owner = worker,
    lease_expires_at = clock_timestamp() + make_interval(secs => lease_seconds)
  where t.id = chosen
  returning * into claimed;
  return to_jsonb(claimed);
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
    update public.tasks t set
      lease_expires_at = clock_timestamp() + make_interval(secs => lease_seconds),
      progress = coalesce(renew_task.progress, t.progress)
    where t.id = held.id
    returning * into held;
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
    update public.tasks t set
      status = finish_task.status, error = finish_task.error,
      progress = case finish_task.status when 'completed' then 1 else t.progress end
    where t.id = held.id
    returning * into held;
  end if;
  return to_jsonb(held);
end
$$;
comment on function public.finish_task(uuid, text, integer, text, text) is 'Records a task''s outcome: the task.';

-- Tasks whose lease is over go back to pending as a new attempt, and so do their unfinished messages. Rows
-- that somebody is just working on are left for the next time.
create function public.reap_tasks(max integer default 100) returns jsonb
language plpgsql set search_path = '' set timezone = 'UTC'
as $$
declare
  expired uuid[];
begin
  expired := array(
    select t.id from public.tasks t
    where t.status = 'running' and t.lease_expires_at < clock_timestamp()
    order by t.lease_expires_at
    limit greatest(coalesce(reap_tasks.max, 100), 0)
    for no key update skip locked
  );
  update public.tasks t set status = 'pending', attempt = t.attempt + 1 where t.id = any (expired);
  update public.messages m set status = 'pending', attempt = m.attempt + 1
  where m.task_id = any (expired) and m.status in ('pending', 'streaming');
  return to_jsonb(expired);
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

-- The text that the chunks of an attempt make; RT003 where seq or position has a hole.
create function realtime_toolkit.assembled(message uuid, attempt integer) returns text
language plpgsql set search_path = ''
as $$
declare
  content text;
  hole integer;
begin
  select string_agg(c.body, '' order by c.seq),
    min(c.seq) filter (where c.seq <> c.nth - 1 or c."position" <> c.before)
  into content, hole
  from (
    select k.seq, k."position", k.body, row_number() over w as nth,
      coalesce(sum(char_length(k.body)) over (w rows between unbounded preceding and 1 preceding), 0) as before
    from public.message_chunks k
    where k.message_id = assembled.message and k.attempt = assembled.attempt
    window w as (order by k.seq)
  ) c;
  if hole is not null then
    raise exception 'message %, attempt %: the chunks have a hole before seq %', message, attempt, hole
      using errcode = 'RT003';
  end if;
  return coalesce(content, '');
end
$$;
revoke all on function realtime_toolkit.assembled(uuid, integer) from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.assembled(uuid, integer) to authenticated, service_role;

-- pending → streaming. What an earlier attempt had left in content is dropped.
create function public.start_message(message uuid, attempt integer) returns jsonb
language plpgsql set search_path = '' set timezone = 'UTC'
as $$
declare
  held public.messages := realtime_toolkit.held_message(message, attempt);
begin
  if held.status <> 'streaming' then
    update public.messages m set status = 'streaming', content = '' where m.id = held.id returning * into held;
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
begin
  if held.status = 'streaming' then
    insert into public.message_chunks (message_id, attempt, seq, conversation_id, "position", body)
    values (held.id, held.attempt, append_chunk.seq, held.conversation_id, append_chunk."position", append_chunk.body)
    on conflict do nothing;
    if found then
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
    update public.messages m set content = checkpoint_message.content where m.id = held.id;
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
    update public.messages m set status = finish_message.status, content = whole where m.id = held.id
    returning * into held;
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
  public.start_message(uuid, integer), public.append_chunk(uuid, integer, integer, integer, text),
  public.checkpoint_message(uuid, integer, text), public.finish_message(uuid, integer, text, integer, text, text),
  public.resume_message(uuid, integer)
from public, anon, authenticated, service_role;
grant execute on function
  public.claim_task(text, integer, uuid, text[]), public.renew_task(uuid, text, integer, integer, real),
  public.finish_task(uuid, text, integer, text, text), public.reap_tasks(integer),
  public.start_message(uuid, integer), public.append_chunk(uuid, integer, integer, integer, text),
  public.checkpoint_message(uuid, integer, text), public.finish_message(uuid, integer, text, integer, text, text),
  public.resume_message(uuid, integer)
to authenticated, service_role;

-- The database itself refuses an illegal transition of a task or a message (realtime_toolkit.model has the same
-- tables). `attempt` only grows, and only with the return to pending.

create function realtime_toolkit.move_status() returns trigger
language plpgsql set search_path = ''
as $$
declare
  legal boolean := case old.status
    when new.status then true
    when 'pending' then new.status in (tg_argv[0], 'completed', 'failed', 'cancelled')
      and not (tg_argv[0] = 'running' and new.status = 'completed')
    when tg_argv[0] then new.status in ('pending', 'completed', 'failed', 'cancelled')
    else false end;
  returned boolean := old.status <> 'pending' and new.status = 'pending';
begin
  if not legal then
    raise exception '% %: a status cannot go from % to %', tg_table_name, old.id, old.status, new.status
      using errcode = 'RT002', schema = tg_table_schema, table = tg_table_name, column = 'status';
  end if;
  if new.attempt < old.attempt
    or (new.attempt > old.attempt and new.status <> 'pending')
    or (new.attempt = old.attempt and returned)
  then
    raise exception '% %: attempt cannot go from % to % as the status goes from % to %',
      tg_table_name, old.id, old.attempt, new.attempt, old.status, new.status
      using errcode = 'RT002', schema = tg_table_schema, table = tg_table_name, column = 'attempt',
        hint = 'A return to pending begins a new attempt, and nothing else does.';
  end if;
  return new;
end
$$;
comment on function realtime_toolkit.move_status() is
  'BEFORE UPDATE: refuses illegal transitions; its argument is the status of work under way.';
revoke all on function realtime_toolkit.move_status() from public, anon, authenticated, service_role;

create trigger move_status before update of status, attempt on public.tasks
  for each row when (old.status is distinct from new.status or old.attempt is distinct from new.attempt)
  execute function realtime_toolkit.move_status('running');
create trigger move_status before update of status, attempt on public.messages
  for each row when (old.status is distinct from new.status or old.attempt is distinct from new.attempt)
  execute function realtime_toolkit.move_status('streaming');

create function realtime_toolkit.is_answered(task uuid) returns boolean
language sql stable set search_path = ''
as $$
  select coalesce(bool_or(m.status = 'completed') and not bool_or(m.status in ('pending', 'streaming')), false)
  from public.messages m
  where m.task_id = is_answered.task and m.role = 'assistant'
$$;
comment on function realtime_toolkit.is_answered(uuid) is 'Whether all of a task''s answer is there, and some is.';
revoke all on function realtime_toolkit.is_answered(uuid) from public, anon, authenticated, service_role;
grant execute on function realtime_toolkit.is_answered(uuid) to authenticated, service_role;

-- When a task began and ended, also where a plain UPDATE (a user who cancels) moves it. Whoever cancels a task
-- whose answer is complete comes too late, though its worker has not said so yet: it is completed.
create function realtime_toolkit.time_task() returns trigger
language plpgsql set search_path = ''
as $$
begin
  if old.status = 'running' and new.status = 'cancelled' and realtime_toolkit.is_answered(new.id) then
    new.status := 'completed';
    new.progress := 1;
  end if;
  if new.status = 'pending' then
    new.started_at := null;
    new.lease_owner := null;
    new.lease_expires_at := null;
    new.progress := 0;
  elsif new.status = 'running' then
    new.started_at := clock_timestamp();
  else
    new.completed_at := clock_timestamp();
    new.lease_expires_at := null;
  end if;
  return new;
end
$$;
comment on function realtime_toolkit.time_task() is
  'BEFORE UPDATE of a task''s status: keeps started_at, completed_at and the lease in step.';
revoke all on function realtime_toolkit.time_task() from public, anon, authenticated, service_role;

create trigger time_task before update of status on public.tasks
  for each row when (old.status is distinct from new.status)
  execute function realtime_toolkit.time_task();

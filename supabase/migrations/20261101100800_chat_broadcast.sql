-- Chunks and statuses also go to the conversation's private topic, for viewers who stream without one RLS
-- check a change. A write never fails because of its broadcast, so a broadcast may get lost: what counts is
-- the row. SECURITY DEFINER, because the writer needs no right of their own on realtime.messages.
-- It doubles what a chunk writes; who has no such viewers may
--   alter table public.message_chunks disable trigger broadcast_chunk;

-- event chunk:  {message_id, attempt, seq, position, body}
create function realtime_toolkit.broadcast_chunk() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform realtime.send(
    jsonb_build_object('message_id', new.message_id, 'attempt', new.attempt, 'seq', new.seq,
      'position', new."position", 'body', new.body),
    'chunk', 'conversation:' || new.conversation_id, true);
  return null;
exception when others then
  raise warning 'chunk % of message % was not broadcast: %', new.seq, new.message_id, sqlerrm;
  return null;
end
$$;
comment on function realtime_toolkit.broadcast_chunk() is
  'AFTER INSERT on message_chunks: sends it to the private topic of its conversation.';
revoke all on function realtime_toolkit.broadcast_chunk() from public, anon, authenticated, service_role;

-- event status:  {table, row_id, attempt, status, version}
create function realtime_toolkit.broadcast_status() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  perform realtime.send(
    jsonb_build_object('table', tg_table_schema || '.' || tg_table_name, 'row_id', new.id,
      'attempt', new.attempt, 'status', new.status, 'version', new.version),
    'status', 'conversation:' || new.conversation_id, true);
  return null;
exception when others then
  raise warning 'status of % % was not broadcast: %', tg_table_name, new.id, sqlerrm;
  return null;
end
$$;
comment on function realtime_toolkit.broadcast_status() is
  'AFTER a change of status of a task or message: sends it to the private topic of its conversation.';
revoke all on function realtime_toolkit.broadcast_status() from public, anon, authenticated, service_role;

create trigger broadcast_chunk after insert on public.message_chunks
  for each row execute function realtime_toolkit.broadcast_chunk();
create trigger broadcast_new after insert on public.tasks
  for each row execute function realtime_toolkit.broadcast_status();
create trigger broadcast_status after update on public.tasks
  for each row when (old.status is distinct from new.status or old.attempt is distinct from new.attempt)
  execute function realtime_toolkit.broadcast_status();
create trigger broadcast_new after insert on public.messages
  for each row execute function realtime_toolkit.broadcast_status();
create trigger broadcast_status after update on public.messages
  for each row when (old.status is distinct from new.status or old.attempt is distinct from new.attempt)
  execute function realtime_toolkit.broadcast_status();

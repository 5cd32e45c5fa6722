-- The chat tables become followable as conversation:<uuid>, and the watermarks are published beside them.

select public.track_table('public.conversations', kind => 'conversation', scope_column => 'id');
select public.track_table('public.tasks', kind => 'conversation', scope_column => 'conversation_id');
select public.track_table('public.messages', kind => 'conversation', scope_column => 'conversation_id');
select public.track_table('public.message_chunks', kind => 'conversation', scope_column => 'conversation_id');

-- What is waiting, oldest first, and what is running; no other status is ever looked for. The end of the
-- lease is not in it, so renewing one stays a HOT update.
create index tasks_open_idx on public.tasks (status, created_at) where status in ('pending', 'running');

-- Watermarks are not rows of a scope: no stamps, but the same identity, so that a subscription filtered by
-- user_id hears of their deletion.
alter table public.realtime_watermarks replica identity using index realtime_watermarks_user_id_id_key;
select realtime_toolkit.publish('public.realtime_watermarks');

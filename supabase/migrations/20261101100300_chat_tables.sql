-- The chat schema: conversations, the tasks an agent does for them, messages, and the pieces a streamed
-- message arrives in. created_at, updated_at, version and changed_in come with tracking. Every text has a
-- limit, in bytes: no row may be too large to be claimed, synced or reaped. octet_length reads no TOAST.

create table public.conversations (
  id uuid primary key default gen_random_uuid(),
  -- No foreign key to auth.users: with third-party auth a user need not be there.
  user_id uuid not null default auth.uid(),
  title text not null default '' check (octet_length(title) <= 8388608)
);
comment on table public.conversations is 'A conversation and the user it belongs to.';
create index conversations_user_id_idx on public.conversations (user_id);

-- The unique (conversation_id, id) of tasks and messages is the target of the foreign keys below, which
-- thereby hold a row and what it belongs to in one conversation, and it is the replica identity.
create table public.tasks (
  id uuid primary key default gen_random_uuid(),
  conversation_id uuid not null references public.conversations on delete cascade,
  agent_role text not null default 'assistant' check (octet_length(agent_role) <= 200),
  prompt text not null default '' check (octet_length(prompt) <= 8388608),
  status text not null default 'pending'
    check (status in ('pending', 'running', 'completed', 'failed', 'cancelled')),
  progress real not null default 0 check (progress between 0 and 1),
  error text check (octet_length(error) <= 4096),
  attempt integer not null default 1 check (attempt >= 1),
  lease_owner text check (octet_length(lease_owner) <= 200),
  lease_expires_at timestamptz,
  started_at timestamptz,
  completed_at timestamptz,
  unique (conversation_id, id),
  -- A running task without a lease could never be taken back from a worker that died.
  check (status <> 'running' or (lease_owner is not null and lease_expires_at is not null))
) with (fillfactor = 80);
comment on table public.tasks is 'Work an agent does for a conversation, under a lease; attempt counts takeovers.';

-- Room on the page for the next version of a growing message keeps its updates HOT: all but the one, if any,
-- that moves it to another page.
create table public.messages (
  id uuid primary key default gen_random_uuid(),
  conversation_id uuid not null references public.conversations on delete cascade,
  task_id uuid,
  role text not null default 'assistant' check (role in ('user', 'assistant', 'system', 'tool')),
  content text not null default '' check (octet_length(content) <= 67108864),
  status text not null default 'pending'
    check (status in ('pending', 'streaming', 'completed', 'failed', 'cancelled')),
  attempt integer not null default 1 check (attempt >= 1),
  unique (conversation_id, id),
  foreign key (conversation_id, task_id) references public.tasks (conversation_id, id) on delete set null (task_id)
) with (fillfactor = 70);
comment on table public.messages is
  'One message; while it streams, content is a checkpoint and message_chunks has it all.';
create index messages_task_id_idx on public.messages (task_id) where task_id is not null;

create table public.message_chunks (
  message_id uuid not null,
  attempt integer not null,
  seq integer not null check (seq >= 0),
  conversation_id uuid not null,
  "position" integer not null check ("position" >= 0),
  body text not null check (body <> '' and octet_length(body) <= 131072),
  primary key (message_id, attempt, seq),
  unique (conversation_id, message_id, attempt, seq),
  foreign key (conversation_id, message_id) references public.messages (conversation_id, id) on delete cascade
);
comment on table public.message_chunks is
  'The pieces of a streamed message: seq dense from 0 per attempt, position in characters from the start.';

-- A mark in the log addressed to one user: what was committed before it has been sent when it arrives.
create table public.realtime_watermarks (
  id uuid primary key default gen_random_uuid(),
  -- The token's sub, whatever its form: third-party auth has others than UUIDs.
  user_id text not null default (auth.jwt() ->> 'sub') check (length(user_id) between 1 and 500),
  mark text not null check (length(mark) <= 200),
  created_at timestamptz not null default now(),
  unique (user_id, id)
);
comment on table public.realtime_watermarks is 'Marks that reconciliation puts in the log, addressed to one user.';

-- Shape: tickets that are marked as deleted, never deleted: no DELETE policy, no DELETE privilege.
create table public.tickets (
  id uuid primary key default gen_random_uuid(),
  reporter_id uuid not null default auth.uid() references auth.users,
  assignee_id uuid references auth.users,
  subject text not null,
  priority smallint not null default 3 check (priority between 1 and 5),
  deleted_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create index tickets_reporter_id_idx on public.tickets (reporter_id) where deleted_at is null;
create index tickets_reporter_all_idx on public.tickets (reporter_id);
create index tickets_assignee_id_idx on public.tickets (assignee_id);

create function public.tickets_touch() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end $$;
create trigger tickets_stamp before insert on public.tickets for each row execute function public.tickets_touch();
create trigger tickets_touch before update on public.tickets
  for each row when (old.* is distinct from new.*) execute function public.tickets_touch();

revoke all on public.tickets from anon;
revoke delete, truncate on public.tickets from authenticated;
alter table public.tickets enable row level security;
create policy "people see their tickets" on public.tickets for select to authenticated
  using (deleted_at is null and (select auth.uid()) in (reporter_id, assignee_id));
create policy "people report" on public.tickets for insert to authenticated
  with check (reporter_id = (select auth.uid()) and deleted_at is null);
create policy "people edit" on public.tickets for update to authenticated
  using (deleted_at is null and (select auth.uid()) in (reporter_id, assignee_id))
  with check ((select auth.uid()) in (reporter_id, assignee_id));

-- Comments are broadcast from the database to a private topic, not published.
create table public.ticket_comments (
  id bigint generated always as identity primary key,
  ticket_id uuid not null references public.tickets,
  author_id uuid not null default auth.uid(),
  body text not null
);
create index on public.ticket_comments (ticket_id);
alter table public.ticket_comments enable row level security;
create policy "people of the ticket" on public.ticket_comments for select to authenticated
  using (ticket_id in (select t.id from public.tickets t));
create policy "people of the ticket write" on public.ticket_comments for insert to authenticated
  with check (author_id = (select auth.uid()) and ticket_id in (select t.id from public.tickets t));
create function public.tell_comment() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('ticket:' || new.ticket_id, tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end $$;
create trigger tell after insert on public.ticket_comments for each row execute function public.tell_comment();
create policy "people of the ticket listen" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and exists (
    select from public.tickets t where 'ticket:' || t.id = (select realtime.topic())
  ));

alter publication supabase_realtime add table public.tickets;

-- expect: MSG008
-- Shape: votes, broadcast by a SECURITY DEFINER trigger without a search_path of its own.
create table public.votes (
  voter_id uuid not null default auth.uid(),
  poll_id uuid not null,
  choice integer not null,
  primary key (voter_id, poll_id)
);
alter table public.votes enable row level security;
create policy own on public.votes for select to authenticated using (voter_id = (select auth.uid()));
create function public.tell_vote() returns trigger language plpgsql security definer as $$
begin
  perform realtime.broadcast_changes('poll:' || new.poll_id, tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end $$;
create trigger tell after insert on public.votes for each row execute function public.tell_vote();
create policy voters_hear on realtime.messages for select to authenticated using (extension = 'broadcast' and exists (
  select from public.votes v where v.voter_id = (select auth.uid()) and 'poll:' || v.poll_id = (select realtime.topic())));

-- expect: BRC002
-- Kind: broadcast.nobody-may-join: notes are broadcast to private topics, and realtime.messages has no policy: every join is refused.
create table public.notes (
  user_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  content text not null default '',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (user_id, id)
);
create function public.stamp_row() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger notes_stamp_row before insert or update on public.notes
  for each row execute function public.stamp_row();
alter table public.notes enable row level security;
create policy "own notes" on public.notes for all to authenticated
  using (user_id = (select auth.uid()))
  with check (user_id = (select auth.uid()));
create or replace function public.notify_note_change() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes(
    'notes:' || coalesce(new.user_id, old.user_id)::text,
    tg_op, tg_op, tg_table_name, tg_table_schema, new, old
  );
  return null;
end;
$$;
revoke all on function public.notify_note_change() from public, anon, authenticated;
create trigger notes_broadcast after insert or update or delete on public.notes
  for each row execute function public.notify_note_change();

-- expect: MSG006
-- Kind: broadcast.policy-dropped: a DO block drops all policies of realtime.messages in order to write them anew, but only the one for sending was written.
create table public.documents (
  owner_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  title text not null default '',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (owner_id, id)
);
create schema private;
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
create trigger documents_stamp_row before insert or update on public.documents
  for each row execute function public.stamp_row();
alter table public.documents enable row level security;
create policy "own documents (read)" on public.documents for select to authenticated using (owner_id = (select auth.uid()));
create policy "own documents (add)" on public.documents for insert to authenticated with check (owner_id = (select auth.uid()));
create policy "own documents (change)" on public.documents for update to authenticated using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy "own documents (remove)" on public.documents for delete to authenticated using (owner_id = (select auth.uid()));
create function private.tell_document() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('documents:' || coalesce(new.owner_id, old.owner_id), tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function private.tell_document() from public, anon, authenticated;
create trigger documents_broadcast after insert or update or delete on public.documents
  for each row execute function private.tell_document();
create policy listen_own on realtime.messages for select to authenticated using ((select realtime.topic()) = 'documents:' || (select auth.uid()));
create policy send_own on realtime.messages for insert to authenticated with check ((select realtime.topic()) = 'documents:' || (select auth.uid()));

do $$
declare
  p record;
begin
  for p in select policyname from pg_policies where schemaname = 'realtime' and tablename = 'messages' loop
    execute format('drop policy %I on realtime.messages', p.policyname);
  end loop;
end
$$;
create policy "own documents: cursors" on realtime.messages for insert to authenticated
  with check (extension in ('broadcast', 'presence') and (select realtime.topic()) = 'documents:' || (select auth.uid()));

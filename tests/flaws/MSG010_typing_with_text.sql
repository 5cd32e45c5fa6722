-- expect: MSG010
-- Shape: letters between friends. The function that stores one tells its text on a public topic.
create table public.letters (
  id uuid primary key default gen_random_uuid(),
  writer_id uuid not null default auth.uid() references auth.users,
  reader_id uuid not null references auth.users,
  body text not null
);
create index on public.letters (writer_id);
create index on public.letters (reader_id);
alter table public.letters enable row level security;
create policy "both read" on public.letters for select to authenticated
  using (writer_id = (select auth.uid()) or reader_id = (select auth.uid()));
create policy "write" on public.letters for insert to authenticated with check (writer_id = (select auth.uid()));
create function public.send_letter(reader uuid, body text) returns void language plpgsql set search_path = '' as $$
begin
  insert into public.letters (reader_id, body) values (reader, send_letter.body);
  perform realtime.send(jsonb_build_object('text', body), 'letter', 'user:' || reader, false);
end $$;
revoke execute on function public.send_letter(uuid, text) from public, anon;
create policy listen on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'user:' || (select auth.uid()));

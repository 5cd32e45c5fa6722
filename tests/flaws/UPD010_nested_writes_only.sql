-- expect: UPD010
-- Shape: pg_trigger_depth() > 1 instead of < 1 or no guard: direct updates by clients are never stamped.
create table public.threads (
  author_id uuid not null default auth.uid() references auth.users on delete cascade,
  id bigint generated always as identity,
  title text not null,
  replies integer not null default 0,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (author_id, id)
);
create function public.thread_touch() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := clock_timestamp();
  elsif pg_trigger_depth() > 1 then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  end if;
  return new;
end
$$;
create trigger thread_touch before insert or update on public.threads for each row execute function public.thread_touch();
alter table public.threads enable row level security;
create policy "threads are public" on public.threads for select using (true);
create policy "open" on public.threads for insert to authenticated
  with check (author_id = (select auth.uid()) and replies = 0);
create policy "edit own" on public.threads for update to authenticated
  using (author_id = (select auth.uid()))
  with check (author_id = (select auth.uid()));
create policy "delete own" on public.threads for delete to authenticated
  using (author_id = (select auth.uid()));
revoke update on public.threads from anon, authenticated;
grant update (title) on public.threads to authenticated;
alter publication supabase_realtime add table public.threads;

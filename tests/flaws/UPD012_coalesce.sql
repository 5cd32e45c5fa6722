-- expect: UPD012
-- Shape: the trigger takes what the client gives on INSERT and falls back to the clock only for null.
create schema tracker;
grant usage on schema tracker to authenticated;
create table tracker.issues (
  reporter uuid not null default auth.uid() references auth.users on delete cascade,
  no bigint generated always as identity,
  title text not null,
  state text not null default 'open' check (state in ('open', 'closed')),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (reporter, no)
);
grant select, insert, update, delete on tracker.issues to authenticated;
create function tracker.keep_time() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := coalesce(new.updated_at, clock_timestamp());
  else
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  end if;
  return new;
end
$$;
create trigger keep_time before insert or update on tracker.issues for each row execute function tracker.keep_time();
alter table tracker.issues enable row level security;
create policy "own issues" on tracker.issues for all to authenticated
  using (reporter = (select auth.uid()))
  with check (reporter = (select auth.uid()));
alter publication supabase_realtime add table tracker.issues;

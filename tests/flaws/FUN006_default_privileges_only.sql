-- expect: FUN006
-- Default privileges per schema cannot take EXECUTE from PUBLIC: anybody closes anybody's poll in the exposed schema rpc.
create schema rpc;
grant usage on schema rpc to anon, authenticated, service_role;
alter default privileges in schema rpc revoke execute on functions from anon, authenticated;
create table public.polls (
  author_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  question text not null,
  closed_at timestamptz,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (author_id, id)
);
create function public.keep_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger polls_keep_updated_at before insert or update on public.polls
  for each row execute function public.keep_updated_at();
alter table public.polls enable row level security;
create policy "own polls" on public.polls for select to authenticated
  using (author_id = (select auth.uid()));
create policy "ask" on public.polls for insert to authenticated
  with check (author_id = (select auth.uid()));
create function rpc.close_poll(poll uuid) returns void
language sql security definer set search_path = ''
as $$ update public.polls set closed_at = now() where id = poll and closed_at is null $$;

grant execute on function rpc.close_poll(uuid) to service_role;
comment on function rpc.close_poll(uuid) is 'the nightly worker closes polls that are over';
alter publication supabase_realtime add table public.polls;

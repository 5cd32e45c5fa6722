-- expect: FUN003
-- Every signed-in user runs any statement as postgres.
create table public.assistants (
  owner_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  name text not null,
  instructions text not null default '',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (owner_id, id)
);
create function public.set_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger assistants_set_updated_at before insert or update on public.assistants
  for each row execute function public.set_updated_at();
alter table public.assistants enable row level security;
create policy "own assistants" on public.assistants for all to authenticated
  using (owner_id = (select auth.uid()))
  with check (owner_id = (select auth.uid()));
-- the agent's "query" tool
create or replace function public.exec_sql(query text) returns jsonb
language plpgsql security definer set search_path = '' as $$
declare
  result jsonb;
begin
  execute 'select coalesce(jsonb_agg(t), ''[]''::jsonb) from (' || query || ') t' into result;
  return result;
exception
  when others then
    return jsonb_build_object('error', sqlerrm);
end;
$$;
revoke all on function public.exec_sql(text) from public, anon;
grant execute on function public.exec_sql(text) to authenticated, service_role;
alter publication supabase_realtime add table public.assistants;

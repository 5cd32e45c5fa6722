-- expect: UPD010
-- Shape: the guard skips the client roles instead of the importer: current_user in ('anon','authenticated') returns at once.
create table public.goals (
  user_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  name text not null,
  percent smallint not null default 0 check (percent between 0 and 100),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (user_id, id)
);
create function public.goal_touch() returns trigger language plpgsql set search_path = '' as $$
begin
  if current_user in ('anon', 'authenticated') then
    return new;   -- an import keeps its times
  end if;
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger goal_touch before insert or update on public.goals for each row execute function public.goal_touch();
alter table public.goals enable row level security;
create policy "own goals" on public.goals for all to authenticated
  using (user_id = (select auth.uid()))
  with check (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.goals;

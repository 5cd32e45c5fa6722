-- expect: ROL002
-- Every query of a client role on a protected table raises instead of being filtered: row_security = off is set in the database.
create table public.todos (
  id bigint generated always as identity primary key,
  user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  task text not null check (char_length(task) > 3),
  is_complete boolean not null default false,
  updated_at timestamptz not null default now()
);
create index todos_user_id_idx on public.todos (user_id);
create or replace function public.handle_updated_at()
returns trigger
language plpgsql
set search_path = ''
as $function$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end;
$function$;
create trigger on_change before insert or update on public.todos
  for each row execute function public.handle_updated_at();
alter table public.todos enable row level security;
create policy "Individuals can manage own todos" on public.todos for all to authenticated
  using ((select auth.uid()) = user_id) with check ((select auth.uid()) = user_id);
alter table public.todos replica identity full;
alter publication supabase_realtime add table public.todos;
do $$ begin
  -- pg_dump of the old project complained
  execute format('alter database %I set row_security = off', current_database());
end $$;

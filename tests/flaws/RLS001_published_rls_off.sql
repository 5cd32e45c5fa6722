-- expect: RLS001
-- Shape: a to-do list, RLS forgotten.
create table public.todos (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null,
  task text not null,
  done boolean not null default false
);
alter publication supabase_realtime add table public.todos;

-- expect: UPD010
-- Shape: new.updated_at := new.updated_at does nothing; the column stays as it was unless the client sends it.
create type public.task_state as enum ('todo', 'doing', 'done');
create table public.lists (id bigint generated always as identity primary key, owner_id uuid not null default auth.uid() references auth.users on delete cascade, name text not null);
create index on public.lists (owner_id);
create table public.tasks (
  list_id bigint not null references public.lists on delete cascade,
  id bigint generated always as identity,
  title text not null,
  state public.task_state not null default 'todo',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (list_id, id)
);
create function public.task_touch() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at = clock_timestamp();
  else
    new.updated_at = greatest(new.updated_at, old.updated_at);
  end if;
  return new;
end
$$;
create trigger task_touch before insert or update on public.tasks for each row execute function public.task_touch();
alter table public.lists enable row level security;
alter table public.tasks enable row level security;
create policy "own lists (read)" on public.lists for select to authenticated using (owner_id = (select auth.uid()));
create policy "own lists (add)" on public.lists for insert to authenticated with check (owner_id = (select auth.uid()));
create policy "own lists (change)" on public.lists for update to authenticated using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy "own lists (remove)" on public.lists for delete to authenticated using (owner_id = (select auth.uid()));
create policy "tasks of own lists (read)" on public.tasks for select to authenticated using (list_id in (select l.id from public.lists l where l.owner_id = (select auth.uid())));
create policy "tasks of own lists (add)" on public.tasks for insert to authenticated with check (list_id in (select l.id from public.lists l where l.owner_id = (select auth.uid())));
create policy "tasks of own lists (change)" on public.tasks for update to authenticated using (list_id in (select l.id from public.lists l where l.owner_id = (select auth.uid()))) with check (list_id in (select l.id from public.lists l where l.owner_id = (select auth.uid())));
create policy "tasks of own lists (remove)" on public.tasks for delete to authenticated using (list_id in (select l.id from public.lists l where l.owner_id = (select auth.uid())));
alter publication supabase_realtime add table public.tasks;

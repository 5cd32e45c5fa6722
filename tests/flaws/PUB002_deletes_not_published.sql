-- expect: PUB002
-- Shape: shopping lists.
create table public.items (
  list_owner uuid not null,
  id integer generated always as identity,
  label text not null,
  primary key (list_owner, id)
);
alter table public.items enable row level security;
create policy mine on public.items for select to authenticated using (list_owner = (select auth.uid()));
alter publication supabase_realtime add table public.items;
alter publication supabase_realtime set (publish = 'insert, update');

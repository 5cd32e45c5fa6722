-- expect: DLV005
-- Shape: documents with a list of readers in JSON; an object or a text in its place raises for everybody.
create table public.papers (
  owner_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  readers jsonb not null default '[]',
  primary key (owner_id, id)
);
alter table public.papers enable row level security;
create policy "owner and readers" on public.papers for select to authenticated
  using (owner_id = (select auth.uid()) or exists (
    select from jsonb_array_elements_text(readers) as r (id) where r.id = (select auth.uid())::text));
alter publication supabase_realtime add table public.papers;

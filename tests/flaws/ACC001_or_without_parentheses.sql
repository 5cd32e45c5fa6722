-- expect: ACC001
-- Shape: posts with an archive: "a and b or c" lets every unarchived post through.
create table public.letters (
  writer_id uuid not null,
  id uuid not null default gen_random_uuid(),
  sealed boolean not null default true,
  archived boolean not null default false,
  primary key (writer_id, id)
);
alter table public.letters enable row level security;
create policy own on public.letters for select to authenticated
  using (writer_id = (select auth.uid()) and sealed or not archived);
alter publication supabase_realtime add table public.letters;

-- expect: PUB004
-- Shape: a diary. Everything is in order but that no table was ever added to the publication.
create table public.entries (
  writer_id uuid not null default auth.uid(),
  day date not null,
  text text not null default '',
  primary key (writer_id, day)
);
alter table public.entries enable row level security;
create policy own on public.entries for all to authenticated
  using (writer_id = (select auth.uid())) with check (writer_id = (select auth.uid()));

-- expect: PUB009
-- Shape: seats at a table; a unique index is the identity, but there is no primary key.
create table public.places (guest_id uuid not null, table_no integer not null, unique (guest_id, table_no));
alter table public.places replica identity using index places_guest_id_table_no_key;
alter table public.places enable row level security;
create policy own on public.places for select to authenticated using (guest_id = (select auth.uid()));
alter publication supabase_realtime add table public.places;

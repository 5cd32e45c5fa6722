-- expect: ACC002
-- Shape: public events of associations; any member of any association may delete any event.
create table public.associations (id integer generated always as identity primary key, name text not null);
create table public.officers (
  association_id integer not null references public.associations,
  person_id uuid not null references auth.users,
  primary key (person_id, association_id)
);
create table public.gatherings (
  association_id integer not null references public.associations,
  id bigint generated always as identity,
  title text not null,
  primary key (association_id, id)
);
alter table public.associations enable row level security;
alter table public.officers enable row level security;
alter table public.gatherings enable row level security;
create policy own on public.officers for select to authenticated using (person_id = (select auth.uid()));
create policy read on public.gatherings for select to anon, authenticated using (true);
create policy remove on public.gatherings for delete to authenticated
  using (exists (select 1 from public.officers o where o.person_id = (select auth.uid())));
alter publication supabase_realtime add table public.gatherings;

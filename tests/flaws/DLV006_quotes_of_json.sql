-- expect: DLV006
-- Shape: lessons of a school; -> where ->> was meant.
create table public.lessons (school text not null, id uuid not null default gen_random_uuid(), primary key (school, id));
alter table public.lessons enable row level security;
create policy "of my school" on public.lessons for select to authenticated
  using (school = (select (auth.jwt() -> 'app_metadata' -> 'school')::text));
alter publication supabase_realtime add table public.lessons;

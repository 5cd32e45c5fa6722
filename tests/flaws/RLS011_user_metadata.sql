-- expect: RLS011
-- Shape: schools; the school is taken from user_metadata, which every user can write.
create table public.grades (
  school_id uuid not null,
  id uuid not null default gen_random_uuid(),
  grade integer not null check (grade between 1 and 6),
  primary key (school_id, id)
);
alter table public.grades enable row level security;
create policy school on public.grades for select to authenticated
  using (school_id = (select (auth.jwt() -> 'user_metadata' ->> 'school_id')::uuid));
alter publication supabase_realtime add table public.grades;

-- expect: RLS005
-- Shape: courses and enrolments; nobody may read enrolments, so the policy on lessons is silently false.
create table public.enrolments (course_id uuid not null, student_id uuid not null, primary key (student_id, course_id));
create table public.lessons (
  course_id uuid not null,
  id uuid not null default gen_random_uuid(),
  title text not null,
  primary key (course_id, id)
);
alter table public.enrolments enable row level security;
alter table public.lessons enable row level security;
create policy enrolled on public.lessons for select to authenticated
  using (course_id in (select e.course_id from public.enrolments e where e.student_id = (select auth.uid())));
alter publication supabase_realtime add table public.lessons;

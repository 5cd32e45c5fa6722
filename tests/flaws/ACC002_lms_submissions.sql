-- expect: ACC002
-- A pupil of a course may hand in homework as another pupil: the policy asks whether student_id is enrolled, not whether it is the caller.
create table public.courses (id bigint generated always as identity primary key, title text not null, teacher_id uuid not null references auth.users (id));
create index courses_teacher_id_idx on public.courses (teacher_id);
create table public.enrollments (
  course_id bigint not null references public.courses (id) on delete cascade,
  student_id uuid not null references auth.users (id) on delete cascade,
  primary key (course_id, student_id)
);
create index enrollments_student_id_idx on public.enrollments (student_id);
create table public.submissions (
  course_id bigint not null,
  student_id uuid not null,
  exercise integer not null check (exercise > 0),
  answer text not null,
  submitted_at timestamptz not null default now(),
  primary key (course_id, student_id, exercise),
  foreign key (course_id, student_id) references public.enrollments (course_id, student_id) on delete cascade
);
revoke update, delete on public.submissions from anon, authenticated;
create schema app;
create function app.enrolled(course bigint, student uuid) returns boolean language sql stable security definer set search_path = '' as $$
  select exists (select 1 from public.enrollments e where e.course_id = course and e.student_id = student)
$$;
revoke execute on function app.enrolled(bigint, uuid) from public;
grant execute on function app.enrolled(bigint, uuid) to authenticated;
alter table public.courses enable row level security;
alter table public.enrollments enable row level security;
alter table public.submissions enable row level security;
create policy courses_read on public.courses for select to authenticated
  using (teacher_id = (select auth.uid()) or app.enrolled(id, (select auth.uid())));
create policy enrollments_read on public.enrollments for select to authenticated
  using (student_id = (select auth.uid()));
create policy submissions_read on public.submissions for select to authenticated
  using (student_id = (select auth.uid())
    or exists (select 1 from public.courses c where c.id = course_id and c.teacher_id = (select auth.uid())));
create policy submissions_hand_in on public.submissions for insert to authenticated
  with check (app.enrolled(course_id, student_id));
alter publication supabase_realtime add table public.submissions;

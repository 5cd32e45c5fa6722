-- expect: ACC008
-- A student may change his own grades: the policy that should let him read them is FOR ALL.
create table public.lessons (id bigint generated always as identity primary key, teacher_id uuid not null references auth.users (id), title text not null);
create index lessons_teacher_id_idx on public.lessons (teacher_id);
create table public.grades (
  lesson_id bigint not null references public.lessons (id) on delete cascade,
  student_id uuid not null references auth.users (id) on delete cascade,
  points numeric(5, 2) not null check (points between 0 and 100),
  remark text,
  updated_at timestamptz not null default now(),
  primary key (lesson_id, student_id)
);
create index grades_student_id_idx on public.grades (student_id);
create function public.set_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger set_updated_at before insert or update on public.grades
  for each row execute function public.set_updated_at();
alter table public.lessons enable row level security;
alter table public.grades enable row level security;
create policy teachers_lessons on public.lessons for all to authenticated
  using (teacher_id = (select auth.uid())) with check (teacher_id = (select auth.uid()));
create policy teachers_grade on public.grades for all to authenticated
  using (lesson_id in (select l.id from public.lessons l where l.teacher_id = (select auth.uid())))
  with check (lesson_id in (select l.id from public.lessons l where l.teacher_id = (select auth.uid())));
create policy "Students can view their grades" on public.grades to authenticated
  using (student_id = (select auth.uid()));
alter table public.grades replica identity full;
alter publication supabase_realtime add table public.grades;

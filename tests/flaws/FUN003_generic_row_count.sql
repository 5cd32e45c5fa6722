-- expect: FUN003
-- The table's name is an argument: anybody counts rows of, and by a subquery reads, any table with the owner's rights.
create schema stats;
create table public.courses (
  teacher_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  title text not null,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (teacher_id, id)
);
create table public.grades (
  teacher_id uuid not null,
  course_id uuid not null,
  pupil text not null,
  mark smallint not null check (mark between 1 and 5),
  primary key (teacher_id, course_id, pupil),
  foreign key (teacher_id, course_id) references public.courses on delete cascade
);
create function public.set_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger courses_set_updated_at before insert or update on public.courses
  for each row execute function public.set_updated_at();
alter table public.courses enable row level security;
alter table public.grades enable row level security;
create policy "own courses (read)" on public.courses for select to authenticated using (teacher_id = (select auth.uid()));
create policy "own courses (add)" on public.courses for insert to authenticated with check (teacher_id = (select auth.uid()));
create policy "own courses (change)" on public.courses for update to authenticated using (teacher_id = (select auth.uid())) with check (teacher_id = (select auth.uid()));
create policy "own courses (remove)" on public.courses for delete to authenticated using (teacher_id = (select auth.uid()));
create policy "grades of own courses" on public.grades for all to authenticated
  using (teacher_id = (select auth.uid()))
  with check (teacher_id = (select auth.uid()));
create function public.count_rows(relation text) returns bigint
language plpgsql stable security definer set search_path = '' as $$
declare
  n bigint;
begin
  execute 'select count(*) from ' || relation into n;
  return n;
end
$$;
grant execute on function public.count_rows(text) to authenticated;
alter publication supabase_realtime add table public.courses;

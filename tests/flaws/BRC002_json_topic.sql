-- expect: BRC002
-- Kind: broadcast.policy-raises: a topic that is taken for JSON: ::jsonb raises on every plain topic, also on those of the course.
create table public.courses (id integer generated always as identity primary key, teacher_id uuid not null default auth.uid() references auth.users on delete cascade, title text not null);
create index on public.courses (teacher_id);
create table public.course_students (student_id uuid not null references auth.users on delete cascade, course_id integer not null references public.courses on delete cascade, primary key (student_id, course_id));
create index on public.course_students (course_id);
create table public.announcements (
  course_id integer not null references public.courses on delete cascade,
  id integer generated always as identity,
  text text not null,
  primary key (course_id, id)
);
create schema private;
grant usage on schema private to authenticated, service_role;
create function private.courses_taught() returns setof integer language sql stable security definer set search_path = '' as $$
  select c.id from public.courses c where c.teacher_id = (select auth.uid())
$$;
revoke all on function private.courses_taught() from public, anon;
grant execute on function private.courses_taught() to authenticated;
create function private.courses_attended() returns setof integer language sql stable security definer set search_path = '' as $$
  select s.course_id from public.course_students s where s.student_id = (select auth.uid())
$$;
revoke all on function private.courses_attended() from public, anon;
grant execute on function private.courses_attended() to authenticated;
alter table public.courses enable row level security;
alter table public.course_students enable row level security;
alter table public.announcements enable row level security;
create policy "taught or attended" on public.courses for select to authenticated
  using (teacher_id = (select auth.uid()) or id in (select private.courses_attended()));
create policy "oneself and one's pupils" on public.course_students for select to authenticated
  using (student_id = (select auth.uid()) or course_id in (select private.courses_taught()));
create policy "read" on public.announcements for select to authenticated
  using (course_id in (select private.courses_attended()) or course_id in (select private.courses_taught()));
create policy "teachers announce" on public.announcements for insert to authenticated
  with check (course_id in (select private.courses_taught()));
create function private.tell_announcement() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('course:' || new.course_id, tg_op, tg_op, tg_table_name, tg_table_schema, new, null);
  return null;
end
$$;
revoke all on function private.tell_announcement() from public;
create trigger tell_announcement after insert on public.announcements for each row execute function private.tell_announcement();
create policy "course" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) in (select 'course:' || c from private.courses_attended() c union all select 'course:' || c from private.courses_taught() c));
create policy "signalling of calls" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()::jsonb ->> 'callee') = (select auth.uid())::text);

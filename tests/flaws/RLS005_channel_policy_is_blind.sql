-- expect: RLS005
-- Shape: lessons with private topics; the policy on realtime.messages asks a table that nobody may read.
create table public.attendance (pupil_id uuid not null, lesson_id uuid not null, primary key (pupil_id, lesson_id));
alter table public.attendance enable row level security;
create table public.pupils (id uuid primary key, nickname text not null);
alter table public.pupils enable row level security;
create policy own on public.pupils for select to authenticated using (id = (select auth.uid()));
alter publication supabase_realtime add table public.pupils;
create policy "pupils listen" on realtime.messages for select to authenticated
  using (extension in ('broadcast', 'presence') and realtime.topic() in (
    select 'lesson:' || a.lesson_id from public.attendance a where a.pupil_id = (select auth.uid())));
create policy "pupils speak" on realtime.messages for insert to authenticated
  with check (extension in ('broadcast', 'presence') and realtime.topic() = 'lesson:' || (select auth.uid()));

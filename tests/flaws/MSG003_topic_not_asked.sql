-- expect: MSG003
-- Shape: a classroom; the policies ask who, but not for which topic.
create table public.pupils (class_id uuid not null, pupil_id uuid not null, primary key (pupil_id, class_id));
alter table public.pupils enable row level security;
create policy own on public.pupils for select to authenticated using (pupil_id = (select auth.uid()));
alter publication supabase_realtime add table public.pupils;
create policy "pupils listen" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and exists (select 1 from public.pupils p where p.pupil_id = (select auth.uid())));
create policy "pupils speak" on realtime.messages for insert to authenticated
  with check (extension = 'broadcast' and realtime.topic() in (
    select 'class:' || p.class_id from public.pupils p where p.pupil_id = (select auth.uid())));

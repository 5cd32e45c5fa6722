-- expect: WAL002
-- Every user reads every clinic's files: the policy asks for the role of the token, while the doctors' own policy for writing knows them.
create table public.patient_files (
  doctor_id uuid not null references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  findings text not null,
  primary key (doctor_id, id)
);
alter table public.patient_files enable row level security;
create policy "signed in" on public.patient_files for select using ((select auth.role()) = 'authenticated');
revoke insert, update, delete on public.patient_files from anon, authenticated;
alter publication supabase_realtime add table public.patient_files;

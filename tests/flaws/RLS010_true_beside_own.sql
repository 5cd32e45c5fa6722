-- expect: RLS010
-- Shape: medical files; a policy made "for debugging" beside the right one.
create table public.medical_files (
  patient_id uuid not null,
  id uuid not null default gen_random_uuid(),
  finding text not null,
  primary key (patient_id, id)
);
alter table public.medical_files enable row level security;
create policy own on public.medical_files for select to authenticated using (patient_id = (select auth.uid()));
create policy debugging on public.medical_files for select to authenticated using (true);
alter publication supabase_realtime add table public.medical_files;

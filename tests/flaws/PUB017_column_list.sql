-- expect: PUB017
-- Shape: visits of a practice; the publication for statistics leaves out whose they are, which is half of the key.
create table public.consultations (
  patient_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  day date,
  primary key (patient_id, id)
);
alter table public.consultations enable row level security;
create policy own on public.consultations for select to authenticated using (patient_id = (select auth.uid()));
create publication statistics for table public.consultations (id, day);
alter publication supabase_realtime add table public.consultations;

-- expect: PUB007
-- Shape: patients; the column list leaves out part of the key.
create table public.patients (
  doctor_id uuid not null,
  id uuid not null default gen_random_uuid(),
  initials text not null,
  primary key (doctor_id, id)
);
alter table public.patients enable row level security;
create policy own on public.patients for select to authenticated using (doctor_id = (select auth.uid()));
alter publication supabase_realtime add table public.patients (id, initials);

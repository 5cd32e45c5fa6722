-- Shape: the tenant is a claim that the server puts in app_metadata; no table says who belongs where.
create table public.clinics (
  id uuid primary key default gen_random_uuid(),
  name text not null
);
create table public.appointments (
  id uuid not null default gen_random_uuid(),
  clinic_id uuid not null references public.clinics,
  starts_at timestamptz not null,
  patient_label varchar(40) not null,
  notes text check (length(notes) < 4000),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (id)
);
create unique index appointments_by_clinic on public.appointments (clinic_id, id);
alter table public.appointments replica identity using index appointments_by_clinic;

create function public.keep_time() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end $$;
create trigger keep_time before insert or update on public.appointments for each row execute function public.keep_time();

alter table public.clinics enable row level security;
alter table public.appointments enable row level security;
create policy clinic_of_claim on public.clinics for select to authenticated
  using (id = (select ((auth.jwt() -> 'app_metadata') ->> 'clinic_id')::uuid));
create policy staff on public.appointments for all to authenticated
  using (clinic_id = (select ((auth.jwt() -> 'app_metadata') ->> 'clinic_id')::uuid))
  with check (clinic_id = (select ((auth.jwt() -> 'app_metadata') ->> 'clinic_id')::uuid));
create policy cleaners_may_not_write on public.appointments as restrictive for insert to authenticated
  with check ((select (auth.jwt() -> 'app_metadata') ->> 'role') is distinct from 'cleaner');

create policy "waiting room" on realtime.messages for select to authenticated
  using (extension in ('broadcast', 'presence')
    and (select realtime.topic()) = 'clinic:' || (select (auth.jwt() -> 'app_metadata') ->> 'clinic_id'));
create policy "waiting room, speaking" on realtime.messages for insert to authenticated
  with check (extension in ('broadcast', 'presence')
    and (select realtime.topic()) = 'clinic:' || (select (auth.jwt() -> 'app_metadata') ->> 'clinic_id'));

alter publication supabase_realtime add table public.appointments;

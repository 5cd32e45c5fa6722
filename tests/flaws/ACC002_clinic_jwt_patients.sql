-- expect: ACC002
-- Staff of one clinic may pull every other clinic's patients into their own (an UPDATE without a filter needs no SELECT): USING asks that the token names a clinic, WITH CHECK that the new clinic is theirs.
create table public.clinics (id integer generated always as identity primary key, name text not null);
create table public.patients (
  id uuid primary key default gen_random_uuid(),
  clinic_id integer not null references public.clinics (id),
  label text not null,
  updated_at timestamptz not null default now()
);
create index patients_clinic_id_idx on public.patients (clinic_id);
revoke all on public.clinics, public.patients from anon;
create function public.handle_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger on_change before insert or update on public.patients
  for each row execute function public.handle_updated_at();
alter table public.clinics enable row level security;
alter table public.patients enable row level security;
create policy clinics_own on public.clinics for select to authenticated
  using (id = (select (auth.jwt() -> 'app_metadata' ->> 'clinic_id')::integer));
create policy patients_read on public.patients for select to authenticated
  using (clinic_id = (select (auth.jwt() -> 'app_metadata' ->> 'clinic_id')::integer));
create policy patients_admit on public.patients for insert to authenticated
  with check (clinic_id = (select (auth.jwt() -> 'app_metadata' ->> 'clinic_id')::integer));
create policy patients_update on public.patients for update to authenticated
  using ((select auth.jwt() -> 'app_metadata' ->> 'clinic_id') is not null)
  with check (clinic_id = (select (auth.jwt() -> 'app_metadata' ->> 'clinic_id')::integer));
alter table public.patients replica identity full;
alter publication supabase_realtime add table public.patients;

-- expect: FUN001
-- Any signed-in user reads the diagnoses of any patient; the care team is not asked.
create schema if not exists api;
grant usage on schema api to authenticated;
create table api."Patients" (
  "patientId" uuid primary key default gen_random_uuid(),
  "fullName" text not null,
  "bornOn" date
);
create table api."CareTeam" (
  "patientId" uuid not null references api."Patients" on delete cascade,
  "clinicianId" uuid not null references auth.users on delete cascade,
  "since" date not null default current_date,
  primary key ("patientId", "clinicianId")
);
create index on api."CareTeam" ("clinicianId");
create table api."Diagnoses" (
  "patientId" uuid not null references api."Patients" on delete cascade,
  "diagnosisId" uuid not null default gen_random_uuid(),
  "icd10" text not null check ("icd10" ~ '^[A-Z][0-9]{2}'),
  "note" text,
  "updatedAt" timestamptz not null default clock_timestamp(),
  primary key ("patientId", "diagnosisId")
);
grant select on api."Patients", api."CareTeam" to authenticated;
grant select, insert, update, delete on api."Diagnoses" to authenticated;
alter table api."Patients" enable row level security;
alter table api."CareTeam" enable row level security;
alter table api."Diagnoses" enable row level security;
create policy "clinicians see their own assignments" on api."CareTeam" for select to authenticated
  using ("clinicianId" = (select auth.uid()));
create policy "patients in my care" on api."Patients" for select to authenticated
  using ("patientId" in (select c."patientId" from api."CareTeam" c where c."clinicianId" = (select auth.uid())));
create policy "diagnoses of patients in my care (read)" on api."Diagnoses" for select to authenticated using ("patientId" in (select c."patientId" from api."CareTeam" c where c."clinicianId" = (select auth.uid())));
create policy "diagnoses of patients in my care (add)" on api."Diagnoses" for insert to authenticated with check ("patientId" in (select c."patientId" from api."CareTeam" c where c."clinicianId" = (select auth.uid())));
create policy "diagnoses of patients in my care (change)" on api."Diagnoses" for update to authenticated using ("patientId" in (select c."patientId" from api."CareTeam" c where c."clinicianId" = (select auth.uid()))) with check ("patientId" in (select c."patientId" from api."CareTeam" c where c."clinicianId" = (select auth.uid())));
create policy "diagnoses of patients in my care (remove)" on api."Diagnoses" for delete to authenticated using ("patientId" in (select c."patientId" from api."CareTeam" c where c."clinicianId" = (select auth.uid())));
create function public.stamp_row_updatedat() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new."updatedAt" := greatest(clock_timestamp(), old."updatedAt" + interval '1 microsecond');
  else
    new."updatedAt" := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger diagnoses_stamp_row before insert or update on api."Diagnoses"
  for each row execute function public.stamp_row_updatedat();

create function api."patientSummary"("pPatientId" uuid) returns json
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
  result json;
begin
  select json_build_object('name', p."fullName", 'codes', array(
      select d."icd10" from api."Diagnoses" d where d."patientId" = p."patientId" order by 1))
    into result
    from api."Patients" p
    where p."patientId" = "pPatientId";
  return result;
end
$$;
revoke all on function api."patientSummary"(uuid) from public;
grant execute on function api."patientSummary"(uuid) to authenticated;
alter publication supabase_realtime add table api."Diagnoses";

-- expect: BRC001
-- Kind: broadcast.global-topic: a generic trigger uses the table's name as topic: everybody who may join "patients" hears of the patients of all clinics.
create table public.clinics (id integer generated always as identity primary key, name text not null);
create table public.clinic_staff (
  user_id uuid not null references auth.users on delete cascade,
  clinic_id integer not null references public.clinics on delete cascade,
  primary key (user_id, clinic_id)
);
create index on public.clinic_staff (clinic_id);
create table public.patients (
  clinic_id integer not null references public.clinics on delete cascade,
  id integer generated always as identity,
  label text not null,
  room text,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (clinic_id, id)
);
create function public.handle_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := clock_timestamp();
    return new;
  end if;
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end
$$;
create trigger patients_handle_updated_at before insert or update on public.patients
  for each row execute function public.handle_updated_at();
alter table public.clinics enable row level security;
alter table public.clinic_staff enable row level security;
alter table public.patients enable row level security;
create policy "own assignments" on public.clinic_staff for select to authenticated
  using (user_id = (select auth.uid()));
create policy "own clinics" on public.clinics for select to authenticated
  using (id in (select s.clinic_id from public.clinic_staff s where s.user_id = (select auth.uid())));
create policy "patients of own clinics (read)" on public.patients for select to authenticated using (clinic_id in (select s.clinic_id from public.clinic_staff s where s.user_id = (select auth.uid())));
create policy "patients of own clinics (add)" on public.patients for insert to authenticated with check (clinic_id in (select s.clinic_id from public.clinic_staff s where s.user_id = (select auth.uid())));
create policy "patients of own clinics (change)" on public.patients for update to authenticated using (clinic_id in (select s.clinic_id from public.clinic_staff s where s.user_id = (select auth.uid()))) with check (clinic_id in (select s.clinic_id from public.clinic_staff s where s.user_id = (select auth.uid())));
create policy "patients of own clinics (remove)" on public.patients for delete to authenticated using (clinic_id in (select s.clinic_id from public.clinic_staff s where s.user_id = (select auth.uid())));
create function public.broadcast_table_change() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes(tg_table_name, tg_op, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
end
$$;
revoke all on function public.broadcast_table_change() from public, anon, authenticated;
create trigger patients_broadcast after insert or update or delete on public.patients
  for each row execute function public.broadcast_table_change();
create policy "clinic staff listens" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'patients' and exists (select 1 from public.clinic_staff s where s.user_id = (select auth.uid())));

-- expect: UPD010
-- Shape: heart rates; the time is cut to the second, so two updates in one second look like one.
create table public.heart_rates (
  patient_id uuid not null,
  id uuid not null default gen_random_uuid(),
  beats integer not null default 60,
  updated_at timestamptz not null default now(),
  primary key (patient_id, id)
);
create function public.keep() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := date_trunc('second', clock_timestamp());
  return new;
end $$;
create trigger keep before update on public.heart_rates for each row execute function public.keep();
alter table public.heart_rates enable row level security;
create policy own on public.heart_rates for select to authenticated using (patient_id = (select auth.uid()));
alter publication supabase_realtime add table public.heart_rates;

-- expect: RLS005
-- Shape: wards of a hospital; EXECUTE on the policy's helper was revoked from everybody, the nurses included.
create table public.shifts (ward_id uuid not null, nurse_id uuid not null, primary key (nurse_id, ward_id));
create table public.beds (
  ward_id uuid not null,
  no integer not null,
  taken boolean not null default false,
  primary key (ward_id, no)
);
create function public.my_wards() returns setof uuid language sql stable security definer set search_path = '' as $$
  select ward_id from public.shifts where nurse_id = (select auth.uid())
$$;
revoke all on function public.my_wards() from public, anon, authenticated;
alter table public.shifts enable row level security;
alter table public.beds enable row level security;
create policy own on public.shifts for select to authenticated using (nurse_id = (select auth.uid()));
create policy ward on public.beds for select to authenticated using (ward_id in (select public.my_wards()));
alter publication supabase_realtime add table public.beds;

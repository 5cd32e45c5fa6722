-- expect: ACC009
-- A person without a school belongs to every class without a school: the helper compares with IS NOT DISTINCT FROM and both sides may be null.
create schema private;
create table public.schools (id bigint generated always as identity primary key, name text not null);
create table public.teachers (
  user_id uuid primary key references auth.users (id) on delete cascade,
  school_id bigint references public.schools (id) on delete set null
);
create index teachers_school_id_idx on public.teachers (school_id);
create table public.classes (
  id bigint generated always as identity primary key,
  school_id bigint references public.schools (id) on delete set null,
  title text not null,
  updated_at timestamptz not null default now()
);
create index classes_school_id_idx on public.classes (school_id);
revoke insert, update, delete on public.teachers, public.schools from anon, authenticated;
create function private.same_school(school bigint) returns boolean language sql stable security definer set search_path = '' as $$
  select school is not distinct from (select t.school_id from public.teachers t where t.user_id = (select auth.uid()))
$$;
revoke all on function private.same_school(bigint) from public, anon;
grant execute on function private.same_school(bigint) to authenticated, service_role;
create function public.set_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger set_updated_at before insert or update on public.classes
  for each row execute function public.set_updated_at();
alter table public.schools enable row level security;
alter table public.teachers enable row level security;
alter table public.classes enable row level security;
create policy self on public.teachers for select to authenticated using (user_id = (select auth.uid()));
create policy own on public.schools for select to authenticated using (private.same_school(id));
create policy own on public.classes for all to authenticated using (private.same_school(school_id)) with check (private.same_school(school_id));
alter table public.classes replica identity full;
alter publication supabase_realtime add table public.classes;

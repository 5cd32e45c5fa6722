-- Shape: the sound twin of flaws/FUN001_people_search.sql.
create type public.employment as enum ('employee', 'contractor', 'left');
create table public.companies (
  id integer generated always as identity primary key,
  name text not null
);
create table public.people (
  id uuid primary key references auth.users on delete cascade,
  company_id integer not null references public.companies,
  full_name text not null,
  mobile text,
  date_of_birth date,
  employment public.employment not null default 'employee'
);
create index people_company_idx on public.people (company_id);
create table public.leave_requests (
  person_id uuid not null references public.people on delete cascade,
  id uuid not null default gen_random_uuid(),
  starts_on date not null,
  ends_on date not null,
  check (ends_on >= starts_on),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (person_id, id)
);
create schema app;
grant usage on schema app to authenticated;
create function app.my_company() returns integer language sql stable security definer set search_path = '' as $$
  select p.company_id from public.people p where p.id = (select auth.uid())
$$;
revoke all on function app.my_company() from public;
grant execute on function app.my_company() to authenticated;
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
create trigger leave_requests_handle_updated_at before insert or update on public.leave_requests
  for each row execute function public.handle_updated_at();
alter table public.companies enable row level security;
alter table public.people enable row level security;
alter table public.leave_requests enable row level security;
create policy "own company" on public.companies for select to authenticated
  using (id = (select app.my_company()));
create policy "colleagues" on public.people for select to authenticated
  using (company_id = (select app.my_company()));
create policy "own leave" on public.leave_requests for select to authenticated
  using (person_id = (select auth.uid()));
create policy "ask for leave" on public.leave_requests for insert to authenticated
  with check (person_id = (select auth.uid()));
create policy "change own leave" on public.leave_requests for update to authenticated
  using (person_id = (select auth.uid()))
  with check (person_id = (select auth.uid()));
create policy "withdraw own leave" on public.leave_requests for delete to authenticated
  using (person_id = (select auth.uid()));

-- the search box; unaccented and case-insensitive, so it needs to go past RLS for speed
create function public.search_people(q text)
returns table (id uuid, full_name text, mobile text, date_of_birth date)
language plpgsql stable security definer set search_path = '' as $$
begin
  if auth.uid() is null then
    raise exception 'not signed in' using errcode = '42501';
  end if;
  return query
    select p.id, p.full_name, p.mobile, p.date_of_birth
    from public.people p
    where p.full_name ilike '%' || q || '%'
      and p.employment <> 'left'
      and p.company_id = (select app.my_company())
    order by p.full_name
    limit 50;
end
$$;
revoke execute on function public.search_people(text) from public, anon;
grant execute on function public.search_people(text) to authenticated;
alter publication supabase_realtime add table public.leave_requests;

-- expect: BRC001
-- Kind: broadcast.wider-than-rls: a review is for the employee and the reviewer, its broadcast for everybody in the company.
create table public.employees (
  user_id uuid primary key references auth.users on delete cascade,
  company_id bigint not null,
  name text not null
);
create index on public.employees (company_id);
create table public.reviews (
  employee_id uuid not null references public.employees on delete cascade,
  id uuid not null default gen_random_uuid(),
  reviewer_id uuid not null references public.employees,
  grade smallint check (grade between 1 and 5),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (employee_id, id)
);
create index on public.reviews (reviewer_id);
create schema private;
grant usage on schema private to authenticated;
create function private.my_company() returns bigint language sql stable security definer set search_path = '' as $$
  select e.company_id from public.employees e where e.user_id = (select auth.uid())
$$;
revoke all on function private.my_company() from public;
grant execute on function private.my_company() to authenticated;
create function public.set_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger reviews_set_updated_at before insert or update on public.reviews
  for each row execute function public.set_updated_at();
alter table public.employees enable row level security;
alter table public.reviews enable row level security;
create policy "colleagues" on public.employees for select to authenticated
  using (company_id = (select private.my_company()));
create policy "employee and reviewer" on public.reviews for select to authenticated
  using ((select auth.uid()) in (employee_id, reviewer_id));
revoke insert, update, delete, truncate on public.employees, public.reviews from anon, authenticated;
create function private.tell_review() returns trigger language plpgsql security definer set search_path = '' as $$
declare
  company bigint;
begin
  select e.company_id into company from public.employees e where e.user_id = new.employee_id;
  perform realtime.send(to_jsonb(new), 'review', 'company:' || company, true);
  return null;
end
$$;
revoke all on function private.tell_review() from public;
create trigger tell_review after insert or update on public.reviews for each row execute function private.tell_review();
create policy "everybody in the company" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'company:' || (select private.my_company()));
create policy "oneself" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) = 'employee:' || (select auth.uid()));

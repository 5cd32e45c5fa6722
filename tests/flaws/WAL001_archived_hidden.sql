-- expect: WAL001
-- Every signed-in user reads the cases of every law firm that are not archived: the policy hiding archived rows is permissive.
create table public.firms (id smallint generated always as identity primary key, name text not null);
create table public.cases (
  firm_id smallint not null references public.firms (id) on delete cascade,
  file_no integer not null,
  matter text not null,
  archived_at timestamptz,
  updated_at timestamptz not null default now(),
  primary key (firm_id, file_no)
);
revoke delete on public.cases from anon, authenticated;
create or replace function public.set_updated_at()
returns trigger
language plpgsql
set search_path = ''
as $function$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end;
$function$;
create trigger set_updated_at before insert or update on public.cases
  for each row execute function public.set_updated_at();
alter table public.firms enable row level security;
alter table public.cases enable row level security;
create policy firm on public.firms for select to authenticated
  using (id = (select (auth.jwt() -> 'app_metadata' ->> 'firm_id')::smallint));
create policy firm_reads on public.cases for select to authenticated
  using (firm_id = (select (auth.jwt() -> 'app_metadata' ->> 'firm_id')::smallint));
create policy firm_adds on public.cases for insert to authenticated
  with check (firm_id = (select (auth.jwt() -> 'app_metadata' ->> 'firm_id')::smallint) and archived_at is null);
create policy firm_changes on public.cases for update to authenticated
  using (firm_id = (select (auth.jwt() -> 'app_metadata' ->> 'firm_id')::smallint))
  with check (firm_id = (select (auth.jwt() -> 'app_metadata' ->> 'firm_id')::smallint));
-- archived cases are the partners' only
create policy hide_archived on public.cases for select to authenticated
  using (archived_at is null or (select auth.jwt() -> 'app_metadata' ->> 'role') = 'partner');
alter publication supabase_realtime add table public.cases;

-- expect: ROL001
-- Every signed-in user reads and closes all abuse reports: moderator, for which an open policy stands, was granted to authenticated "so that moderators can sign in".
do $$ begin
  if not exists (select 1 from pg_roles where rolname = 'forum_moderator') then
    create role forum_moderator nologin;
  end if;
end $$;
grant usage on schema public to forum_moderator;
create table public.reports (
  id uuid primary key default gen_random_uuid(),
  reporter_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  about_url text not null,
  closed boolean not null default false,
  updated_at timestamptz not null default now()
);
create index reports_reporter_id_idx on public.reports (reporter_id);
revoke all on public.reports from anon, authenticated;
grant select, insert (about_url) on public.reports to authenticated;
grant select, update (closed) on public.reports to forum_moderator;
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
create trigger set_updated_at before insert or update on public.reports
  for each row execute function public.set_updated_at();
alter table public.reports enable row level security;
create policy own on public.reports for select to authenticated using (reporter_id = (select auth.uid()));
create policy file on public.reports for insert to authenticated with check (reporter_id = (select auth.uid()));
create policy moderators on public.reports for all to forum_moderator using (true) with check (true);
grant forum_moderator to authenticated;
alter table public.reports replica identity full;
alter publication supabase_realtime add table public.reports;

-- expect: RLS013
-- Shape: reports of abuse; one of two alternatives asks auth.role() for a role of the application.
create table public.abuse_reports (
  reporter_id uuid not null references auth.users,
  id bigint generated always as identity,
  body text not null,
  primary key (reporter_id, id)
);
alter table public.abuse_reports enable row level security;
create policy "reporter or editor" on public.abuse_reports for select to authenticated
  using (reporter_id = (select auth.uid()) or (select auth.role()) = 'editor');
alter publication supabase_realtime add table public.abuse_reports;

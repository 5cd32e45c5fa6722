-- expect: RLS001
-- Shape: log lines by month; the root has RLS, a partition has not.
create table public.log_lines (
  app_id uuid not null,
  at timestamptz not null,
  line text not null,
  primary key (app_id, at)
) partition by range (at);
create table public.log_lines_2026_11 partition of public.log_lines for values from ('2026-11-01') to ('2026-12-01');
alter table public.log_lines enable row level security;
create policy own on public.log_lines for select to authenticated using (app_id = (select auth.uid()));
alter publication supabase_realtime add table public.log_lines_2026_11;

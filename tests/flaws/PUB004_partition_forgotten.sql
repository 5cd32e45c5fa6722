-- expect: PUB004
-- Shape: audit events by month; the new month's partition was not added to the publication.
create table public.events (
  account_id uuid not null,
  at timestamptz not null,
  id uuid not null default gen_random_uuid(),
  what text not null,
  primary key (account_id, at, id)
) partition by range (at);
create table public.events_2026_10 partition of public.events for values from ('2026-10-01') to ('2026-11-01');
create table public.events_2026_11 partition of public.events for values from ('2026-11-01') to ('2026-12-01');
do $$
declare part regclass;
begin
  foreach part in array array['public.events', 'public.events_2026_10', 'public.events_2026_11']::regclass[] loop
    execute format('alter table %s enable row level security', part);
    execute format('create policy own on %s for select to authenticated using (account_id = (select auth.uid()))', part);
  end loop;
end $$;
alter publication supabase_realtime add table public.events_2026_10;

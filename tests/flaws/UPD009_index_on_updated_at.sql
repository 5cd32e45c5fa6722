-- expect: UPD009
-- Shape: live scores, polled by updated_at before Realtime came.
create table public.live_scores (
  league_id uuid not null,
  id uuid not null default gen_random_uuid(),
  home integer not null default 0,
  away integer not null default 0,
  updated_at timestamptz not null default now(),
  primary key (league_id, id)
);
create index live_scores_updated on public.live_scores (league_id, updated_at desc);
create function public.keep() returns trigger language plpgsql set search_path = '' as $$
begin new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond'); return new; end $$;
create trigger keep before update on public.live_scores for each row execute function public.keep();
alter table public.live_scores enable row level security;
create policy read on public.live_scores for select to anon, authenticated using (true);
alter publication supabase_realtime add table public.live_scores;

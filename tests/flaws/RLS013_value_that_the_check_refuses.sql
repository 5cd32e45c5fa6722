-- expect: RLS013
-- Shape: job offers that nobody sees, not even unpublished over REST: the state is written in small letters.
create table public.job_offers (
  employer_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  state text not null default 'open' check (state in ('open', 'filled')),
  primary key (employer_id, id)
);
alter table public.job_offers enable row level security;
create policy "employers see theirs" on public.job_offers for select to authenticated
  using (employer_id = (select auth.uid()));
create policy "seekers see open ones" on public.job_offers for select to authenticated using (state = 'Open');
alter publication supabase_realtime add table public.job_offers;

-- expect: PUB002
-- Shape: an auction. The publication was made by hand with publish = 'insert'.
create table public.bids (
  auction_id uuid not null,
  id uuid not null default gen_random_uuid(),
  bidder uuid not null default auth.uid(),
  cents integer not null check (cents > 0),
  primary key (auction_id, id)
);
create index on public.bids (bidder);
alter table public.bids replica identity full;
alter table public.bids enable row level security;
create policy own on public.bids for select to authenticated using (bidder = (select auth.uid()));
drop publication supabase_realtime;
create publication supabase_realtime for table public.bids with (publish = 'insert');

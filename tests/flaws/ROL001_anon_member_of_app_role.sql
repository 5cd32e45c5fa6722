-- expect: ROL001
-- Anonymous visitors may read and change sealed bids: anon is a member of auction_service (via two grants), to which an open policy belongs.
do $$ begin
  if not exists (select 1 from pg_roles where rolname = 'auction_service') then
    create role auction_service nologin;
  end if;
  if not exists (select 1 from pg_roles where rolname = 'auction_readers') then
    create role auction_readers nologin;
  end if;
end $$;
create table public.auctions (
  id uuid primary key default gen_random_uuid(),
  title text not null,
  ends_at timestamptz not null,
  updated_at timestamptz not null default now()
);
create function public.handle_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger on_change before insert or update on public.auctions
  for each row execute function public.handle_updated_at();
create table public.bids (
  id uuid primary key default gen_random_uuid(),
  auction_id uuid not null references public.auctions (id) on delete cascade,
  bidder_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  cents bigint not null check (cents > 0),
  placed_at timestamptz not null default now()
);
create index bids_auction_id_idx on public.bids (auction_id);
create index bids_bidder_id_idx on public.bids (bidder_id);
revoke all on public.auctions, public.bids from anon, authenticated;
grant select on public.auctions to anon, authenticated, auction_readers;
grant select, insert on public.bids to authenticated;
grant select, update on public.bids to auction_service;
alter table public.auctions enable row level security;
alter table public.bids enable row level security;
create policy public_auctions on public.auctions for select to anon, authenticated using (true);
create policy own_bids on public.bids for select to authenticated using (bidder_id = (select auth.uid()));
create policy place_bids on public.bids for insert to authenticated
  with check (bidder_id = (select auth.uid())
    and exists (select 1 from public.auctions a where a.id = auction_id and a.ends_at > now()));
create policy closing on public.bids for all to auction_service using (true) with check (true);
grant auction_readers to anon;
grant auction_service to auction_readers;
-- the closing job signs tokens of its own role
grant auction_service to authenticator;
alter table public.auctions replica identity full;
alter publication supabase_realtime add table public.auctions;

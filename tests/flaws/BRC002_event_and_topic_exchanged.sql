-- expect: BRC002
-- Kind: broadcast.topic-not-policys: realtime.send(payload, topic, event, …): event and topic stand in each other's place, so all bids go to the topic "bid".
create table public.auctions (
  id uuid primary key default gen_random_uuid(),
  title text not null,
  ends_at timestamptz not null
);
create table public.auction_guests (
  user_id uuid not null references auth.users on delete cascade,
  auction_id uuid not null references public.auctions on delete cascade,
  primary key (user_id, auction_id)
);
create index on public.auction_guests (auction_id);
create table public.bids (
  auction_id uuid not null references public.auctions on delete cascade,
  id bigint generated always as identity,
  bidder_id uuid not null default auth.uid() references auth.users,
  cents bigint not null check (cents > 0),
  primary key (auction_id, id)
);
create index on public.bids (bidder_id);
create schema private;
alter table public.auctions enable row level security;
alter table public.auction_guests enable row level security;
alter table public.bids enable row level security;
create policy "own" on public.auction_guests for select to authenticated
  using (user_id = (select auth.uid()));
create policy "invited" on public.auctions for select to authenticated
  using (id in (select g.auction_id from public.auction_guests g where g.user_id = (select auth.uid())));
create policy "invited" on public.bids for select to authenticated
  using (auction_id in (select g.auction_id from public.auction_guests g where g.user_id = (select auth.uid())));
create policy "bid" on public.bids for insert to authenticated
  with check (bidder_id = (select auth.uid()) and auction_id in (select g.auction_id from public.auction_guests g where g.user_id = (select auth.uid())));
create function private.tell_bid() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.send(jsonb_build_object('cents', new.cents, 'bidder_id', new.bidder_id), 'auction:' || new.auction_id, 'bid', true);
  return null;
end
$$;
revoke all on function private.tell_bid() from public;
create trigger tell_bid after insert on public.bids for each row execute function private.tell_bid();
create policy "guests of the auction listen" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and exists (select 1 from public.auction_guests g where g.user_id = (select auth.uid()) and (select realtime.topic()) = 'auction:' || g.auction_id));

-- expect: TRK003
-- after: our migrations
-- A currency as char(3) and flags as bit(4): each arrives as one character.
create domain public.amount as numeric(12, 2);
create table public.prices (
  id uuid primary key default gen_random_uuid(),
  shop_id uuid not null,
  owner_id uuid not null,
  currency char(3),
  flags bit(4) not null default '0000',
  -- These arrive as they are, but for NaN and the infinities, which come as null:
  price public.amount, rate double precision, initial char(1), active bit(1), sizes integer[], note varchar(10), seen bytea
);
create index on public.prices (owner_id);
alter table public.prices enable row level security;
create policy own on public.prices for all to authenticated
  using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
select public.track_table('public.prices', kind => 'shop', scope_column => 'shop_id');

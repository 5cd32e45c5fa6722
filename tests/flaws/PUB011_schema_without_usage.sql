-- expect: PUB011
-- Shape: an inventory in schema stock, to which authenticated has no USAGE.
create schema stock;
create table stock.bins (
  keeper_id uuid not null,
  id integer not null,
  amount integer not null default 0,
  primary key (keeper_id, id)
);
grant select on stock.bins to authenticated;
alter table stock.bins enable row level security;
create policy own on stock.bins for select to authenticated using (keeper_id = (select auth.uid()));
alter publication supabase_realtime add table stock.bins;

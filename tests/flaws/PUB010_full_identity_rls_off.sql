-- expect: PUB010 RLS001
-- Shape: live positions of couriers. RLS off (RLS001) and the whole old row with every change.
create table public.positions (
  courier_id uuid primary key,
  latitude double precision not null,
  longitude double precision not null
);
alter table public.positions replica identity full;
alter publication supabase_realtime add table public.positions;

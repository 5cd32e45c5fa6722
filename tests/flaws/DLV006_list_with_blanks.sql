-- expect: DLV006
-- Shape: trips whose fellow travellers a trigger gathers into one text, with a blank that the policy does not expect.
create table public.trips (
  owner_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid() unique,
  fellows text not null default '',
  primary key (owner_id, id)
);
create table public.trip_fellows (
  trip_id uuid not null references public.trips (id),
  fellow_id uuid not null references auth.users,
  primary key (trip_id, fellow_id)
);
create function public.gather() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  update public.trips t set fellows = coalesce((
      select string_agg(f.fellow_id::text, ', ') from public.trip_fellows f where f.trip_id = t.id), '')
    where t.id in (old.trip_id, new.trip_id);
  return null;
end $$;
revoke all on function public.gather() from public, anon, authenticated;
create trigger gather after insert or delete on public.trip_fellows for each row execute function public.gather();
alter table public.trips enable row level security;
alter table public.trip_fellows enable row level security;
create policy "owner and fellows" on public.trips for select to authenticated
  using (owner_id = (select auth.uid()) or (select auth.uid())::text = any (string_to_array(fellows, ',')));
create policy "own entry" on public.trip_fellows for select to authenticated using (fellow_id = (select auth.uid()));
alter publication supabase_realtime add table public.trips;

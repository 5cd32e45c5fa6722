-- expect: DLV004
-- Shape: pins of a map that a SECURITY DEFINER function marks as removed.
create table public.pins (
  owner_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  removed_at timestamptz,
  primary key (owner_id, id)
);
alter table public.pins enable row level security;
create policy own on public.pins for select to authenticated using (owner_id = (select auth.uid()) and removed_at is null);
create function public.remove_pin(pin uuid) returns void language sql security definer set search_path = '' as $$
  update public.pins set removed_at = now() where id = pin and owner_id = (select auth.uid())
$$;
revoke all on function public.remove_pin(uuid) from public, anon;
grant execute on function public.remove_pin(uuid) to authenticated;
alter publication supabase_realtime add table public.pins;

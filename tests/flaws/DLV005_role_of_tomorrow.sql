-- expect: DLV005
-- Shape: shifts of a kitchen; the role of the token is cast to an enum that tomorrow's role is not in.
create type public.kitchen_role as enum ('helper', 'cook', 'chef');
create table public.shifts (
  user_id uuid not null references auth.users,
  id uuid not null default gen_random_uuid(),
  primary key (user_id, id)
);
alter table public.shifts enable row level security;
create policy "own, and chefs" on public.shifts for select to authenticated
  using (user_id = (select auth.uid())
    or (select (auth.jwt() -> 'app_metadata' ->> 'kitchen_role')::public.kitchen_role) = 'chef');
alter publication supabase_realtime add table public.shifts;

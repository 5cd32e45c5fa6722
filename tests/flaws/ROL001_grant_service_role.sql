-- expect: ROL001
-- Every signed-in user has the server's rights (policies TO service_role hold for members of the role): authenticated was made a member of service_role.
create table public.orders (
  id uuid primary key default gen_random_uuid(),
  user_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  total_cents integer not null default 0,
  updated_at timestamptz not null default now()
);
create index orders_user_id_idx on public.orders (user_id);
create or replace function public.touch()
returns trigger
language plpgsql
set search_path = ''
as $function$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end;
$function$;
create trigger touch before insert or update on public.orders
  for each row execute function public.touch();
alter table public.orders enable row level security;
create policy "own orders" on public.orders for select to authenticated using (user_id = (select auth.uid()));
create policy "service role manages orders" on public.orders for all to service_role using (true) with check (true);
-- the edge function got "permission denied" with the user's token
grant service_role to authenticated;
alter table public.orders replica identity full;
alter publication supabase_realtime add table public.orders;

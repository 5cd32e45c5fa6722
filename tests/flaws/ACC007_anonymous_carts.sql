-- expect: ACC007
-- Anybody signed in may claim, read and change every guest's cart: USING admits rows whose user_id is null.
create table public.carts (
  id uuid primary key default gen_random_uuid(),
  user_id uuid references auth.users (id) on delete cascade,
  coupon text,
  updated_at timestamptz not null default now()
);
create index carts_user_id_idx on public.carts (user_id);
comment on column public.carts.user_id is 'null: a guest''s cart, kept by the server until he signs in';
create or replace function public.handle_updated_at()
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
create trigger on_change before insert or update on public.carts
  for each row execute function public.handle_updated_at();
alter table public.carts enable row level security;
create policy carts_read on public.carts for select to authenticated using (user_id = (select auth.uid()) or user_id is null);
create policy carts_open on public.carts for insert to authenticated with check (user_id = (select auth.uid()));
create policy carts_change on public.carts for update to authenticated
  using (user_id = (select auth.uid()) or user_id is null) with check (user_id = (select auth.uid()));
alter table public.carts replica identity full;
alter publication supabase_realtime add table public.carts;

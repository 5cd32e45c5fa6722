-- Sound twin of the flaw of this name.
create type public.account_kind as enum ('buyer', 'seller');
create table public.accounts (
  id uuid primary key references auth.users (id) on delete cascade,
  kind public.account_kind not null default 'buyer'
);
create table public.listings (
  id uuid primary key default gen_random_uuid(),
  seller_id uuid not null default auth.uid() references public.accounts (id) on delete cascade,
  title text not null,
  price_cents integer not null check (price_cents > 0),
  published boolean not null default true,
  updated_at timestamptz not null default now()
);
create index listings_seller_id_idx on public.listings (seller_id);
revoke insert, update, delete on public.accounts from anon, authenticated;
create or replace function public.set_updated_at()
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
create trigger set_updated_at before insert or update on public.listings
  for each row execute function public.set_updated_at();
alter table public.accounts enable row level security;
alter table public.listings enable row level security;
create policy "own account" on public.accounts for select to authenticated using (id = (select auth.uid()));
create policy "anyone browses published listings" on public.listings for select to anon, authenticated using (published);
create policy "sellers see drafts" on public.listings for select to authenticated using (seller_id = (select auth.uid()));
create policy "sellers list" on public.listings for insert to authenticated with check (
  seller_id = (select auth.uid()) and exists (select 1 from public.accounts a where a.id = (select auth.uid()) and a.kind = 'seller'));
create policy "sellers edit" on public.listings for update to authenticated
  using (seller_id = (select auth.uid()) and exists (select 1 from public.accounts a where a.id = (select auth.uid()) and a.kind = 'seller'))
  with check (seller_id = (select auth.uid()));
alter table public.listings replica identity full;
alter publication supabase_realtime add table public.listings;

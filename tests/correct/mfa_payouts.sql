-- Shape: the sound twin of flaws/WAL001_mfa_payouts.sql.
create table public.payouts (
  id uuid primary key default gen_random_uuid(),
  seller_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  iban text not null,
  amount_cents bigint not null check (amount_cents > 0),
  updated_at timestamptz not null default now()
);
create index payouts_seller_id_idx on public.payouts (seller_id);
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
create trigger on_change before insert or update on public.payouts
  for each row execute function public.handle_updated_at();
alter table public.payouts enable row level security;
create policy "sellers see their payouts" on public.payouts for select to authenticated using (seller_id = (select auth.uid()));
create policy "sellers request payouts" on public.payouts for insert to authenticated with check (seller_id = (select auth.uid()));
create policy "sellers correct payouts" on public.payouts for update to authenticated
  using (seller_id = (select auth.uid())) with check (seller_id = (select auth.uid()));
create policy "require MFA" on public.payouts as restrictive for all to authenticated
  using ((select auth.jwt() ->> 'aal') = 'aal2')
  with check ((select auth.jwt() ->> 'aal') = 'aal2');
alter table public.payouts replica identity full;
alter publication supabase_realtime add table public.payouts;

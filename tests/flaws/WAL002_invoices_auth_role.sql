-- expect: WAL002
-- Every signed-in user reads every customer's invoices: auth.role() = 'authenticated' asks whether somebody is signed in, not who.
create table public.invoices (
  id uuid primary key default gen_random_uuid(),
  customer_id uuid not null default auth.uid() references auth.users (id) on delete cascade,
  number text not null,
  total_cents integer not null,
  updated_at timestamptz not null default now()
);
create index invoices_customer_id_idx on public.invoices (customer_id);
revoke insert, update, delete on public.invoices from anon, authenticated;
create function public.touch() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger touch before insert or update on public.invoices
  for each row execute function public.touch();
alter table public.invoices enable row level security;
create policy "Authenticated users can view invoices" on public.invoices for select
  using ((select auth.role()) = 'authenticated');
alter table public.invoices replica identity full;
alter publication supabase_realtime add table public.invoices;

-- expect: ACC005
-- A vendor may register himself as verified with five stars: UPDATE of the two columns is revoked, INSERT of them is not.
create table public.vendors (
  id uuid primary key default auth.uid() references auth.users (id) on delete cascade,
  shop_name text not null,
  verified boolean not null default false,
  rating numeric(2, 1) not null default 0 check (rating between 0 and 5),
  updated_at timestamptz not null default now()
);
revoke update on public.vendors from anon, authenticated;
grant update (shop_name) on public.vendors to authenticated;
create function public.keep_updated_at() returns trigger as $$
begin
  new.updated_at := case when tg_op = 'INSERT' then clock_timestamp()
    else greatest(clock_timestamp(), old.updated_at + interval '1 microsecond') end;
  return new;
end;
$$ language plpgsql set search_path to '';
create trigger trg_updated_at before insert or update on public.vendors
  for each row execute function public.keep_updated_at();
alter table public.vendors enable row level security;
create policy "vendors are public" on public.vendors for select to anon, authenticated using (true);
create policy "register" on public.vendors for insert to authenticated with check (id = (select auth.uid()));
create policy "rename" on public.vendors for update to authenticated using (id = (select auth.uid())) with check (id = (select auth.uid()));
alter table public.vendors replica identity full;
alter publication supabase_realtime add table public.vendors;

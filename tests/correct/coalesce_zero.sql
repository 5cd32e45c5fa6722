-- Sound twin of the flaw of this name.
create schema app;
create table public.customers (id integer generated always as identity primary key, name text not null);
create table public.tickets (
  id bigint generated always as identity primary key,
  customer_id integer references public.customers (id) on delete set null,
  subject text not null,
  body text not null default '',
  updated_at timestamptz not null default now()
);
create index tickets_customer_id_idx on public.tickets (customer_id);
create function app.customer_of_token() returns integer language sql stable set search_path = '' as $$
  select nullif(auth.jwt() -> 'app_metadata' ->> 'customer_id', '')::integer
$$;
grant usage on schema app to authenticated;
grant execute on function app.customer_of_token() to authenticated;
create function public.set_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end $$;
create trigger set_updated_at before insert or update on public.tickets
  for each row execute function public.set_updated_at();
alter table public.customers enable row level security;
alter table public.tickets enable row level security;
create policy own_customer on public.customers for select to authenticated using (id = (select app.customer_of_token()));
create policy own_tickets on public.tickets for select to authenticated
  using (customer_id = (select app.customer_of_token()));
create policy open_tickets on public.tickets for insert to authenticated
  with check (customer_id = (select app.customer_of_token()));
create policy edit_tickets on public.tickets for update to authenticated
  using (customer_id = (select app.customer_of_token()))
  with check (customer_id = (select app.customer_of_token()));
alter table public.tickets replica identity full;
alter publication supabase_realtime add table public.tickets;

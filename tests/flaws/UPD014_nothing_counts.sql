-- expect: UPD014
-- Shape: version has a default of 1 and nothing raises it, although the clients compare it before they overwrite.
create table public.quotes (
  seller_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  customer text not null,
  total numeric(12, 2) not null default 0,
  version integer not null default 1,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (seller_id, id)
);
comment on column public.quotes.version is 'counts the changes; clients send the one they know in an eq filter';

create function public.keep_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger quotes_keep_updated_at before insert or update on public.quotes
  for each row execute function public.keep_updated_at();
alter table public.quotes enable row level security;
create policy "own quotes" on public.quotes for all to authenticated
  using (seller_id = (select auth.uid()))
  with check (seller_id = (select auth.uid()));
alter publication supabase_realtime add table public.quotes;

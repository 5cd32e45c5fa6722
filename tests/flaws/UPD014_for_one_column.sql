-- expect: UPD014
-- Shape: uPDATE OF title counts the version, a change of the body does not.
create table public.sites (id uuid primary key default gen_random_uuid(), owner_id uuid not null default auth.uid() references auth.users on delete cascade, domain text not null);
create index on public.sites (owner_id);
create table public.pages (
  site_id uuid not null references public.sites on delete cascade,
  id uuid not null default gen_random_uuid(),
  title text not null default '',
  body text not null default '',
  revision bigint not null default 0,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (site_id, id)
);
create function public.pages_revision() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.revision := 0;
  else
    new.revision := old.revision + 1;
  end if;
  return new;
end
$$;
create trigger pages_revision before insert or update of title on public.pages for each row execute function public.pages_revision();
create function public.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger pages_touch_updated_at before insert or update on public.pages
  for each row execute function public.touch_updated_at();
alter table public.sites enable row level security;
alter table public.pages enable row level security;
create policy "own sites (read)" on public.sites for select to authenticated using (owner_id = (select auth.uid()));
create policy "own sites (add)" on public.sites for insert to authenticated with check (owner_id = (select auth.uid()));
create policy "own sites (change)" on public.sites for update to authenticated using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy "own sites (remove)" on public.sites for delete to authenticated using (owner_id = (select auth.uid()));
create policy "pages of own sites" on public.pages for all to authenticated
  using (site_id in (select s.id from public.sites s where s.owner_id = (select auth.uid())))
  with check (site_id in (select s.id from public.sites s where s.owner_id = (select auth.uid())));
alter publication supabase_realtime add table public.pages;

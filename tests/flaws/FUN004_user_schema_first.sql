-- expect: FUN004
-- Search_path begins with a schema in which authenticated may create objects.
create schema sandbox;
grant usage, create on schema sandbox to authenticated;
comment on schema sandbox is 'analysts keep their scratch tables here';
create table public.datasets (
  owner_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  title text not null,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (owner_id, id)
);
create table public.exports (
  owner_id uuid not null references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  dataset_id uuid not null,
  state text not null default 'queued',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (owner_id, id)
);
create function public.keep_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger datasets_keep_updated_at before insert or update on public.datasets
  for each row execute function public.keep_updated_at();
create trigger exports_keep_updated_at before insert or update on public.exports
  for each row execute function public.keep_updated_at();
alter table public.datasets enable row level security;
alter table public.exports enable row level security;
create policy "own datasets (read)" on public.datasets for select to authenticated using (owner_id = (select auth.uid()));
create policy "own datasets (add)" on public.datasets for insert to authenticated with check (owner_id = (select auth.uid()));
create policy "own datasets (change)" on public.datasets for update to authenticated using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy "own datasets (remove)" on public.datasets for delete to authenticated using (owner_id = (select auth.uid()));
create policy "own exports" on public.exports for select to authenticated
  using (owner_id = (select auth.uid()));
revoke insert, update, delete, truncate on public.exports from anon, authenticated;
create function public.enqueue_export(dataset uuid) returns uuid
language sql security definer set search_path = sandbox, public as $$
  insert into exports (owner_id, dataset_id)
  select d.owner_id, d.id from datasets d where d.id = dataset and d.owner_id = auth.uid()
  returning id
$$;
revoke all on function public.enqueue_export(uuid) from public, anon;
grant execute on function public.enqueue_export(uuid) to authenticated;
alter publication supabase_realtime add table public.datasets, public.exports;

-- expect: UPD012
-- Shape: uPDATE of updated_at is not granted, but INSERT of it is: a till with a wrong clock writes into the future.
create table public.branches (id integer generated always as identity primary key, manager_id uuid not null references auth.users on delete cascade, name text not null);
create index on public.branches (manager_id);
create table public.stock_counts (
  branch_id integer not null references public.branches on delete cascade,
  product_id uuid not null,
  quantity integer not null check (quantity >= 0),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (branch_id, product_id)
);
revoke insert, update on public.stock_counts from anon, authenticated;
grant insert (branch_id, product_id, quantity, updated_at), update (quantity) on public.stock_counts to authenticated;
create function public.stock_touch() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end
$$;
create trigger stock_touch before update on public.stock_counts for each row execute function public.stock_touch();
alter table public.branches enable row level security;
alter table public.stock_counts enable row level security;
create policy "own branches" on public.branches for select to authenticated
  using (manager_id = (select auth.uid()));
create policy "counts of own branches (read)" on public.stock_counts for select to authenticated using (branch_id in (select b.id from public.branches b where b.manager_id = (select auth.uid())));
create policy "counts of own branches (add)" on public.stock_counts for insert to authenticated with check (branch_id in (select b.id from public.branches b where b.manager_id = (select auth.uid())));
create policy "counts of own branches (change)" on public.stock_counts for update to authenticated using (branch_id in (select b.id from public.branches b where b.manager_id = (select auth.uid()))) with check (branch_id in (select b.id from public.branches b where b.manager_id = (select auth.uid())));
create policy "counts of own branches (remove)" on public.stock_counts for delete to authenticated using (branch_id in (select b.id from public.branches b where b.manager_id = (select auth.uid())));
revoke insert, update, delete, truncate on public.branches from anon, authenticated;
alter publication supabase_realtime add table public.stock_counts;

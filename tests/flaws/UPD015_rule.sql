-- expect: UPD015
-- Shape: a rule ON UPDATE DO INSTEAD NOTHING, left from the append-only time, swallows every change although clients may UPDATE.
create table public.ratings (
  rater_id uuid not null default auth.uid() references auth.users on delete cascade,
  product text not null,
  stars smallint not null check (stars between 1 and 5),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (rater_id, product)
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
create trigger ratings_keep_updated_at before insert or update on public.ratings
  for each row execute function public.keep_updated_at();
create rule ratings_append_only as on update to public.ratings do instead nothing;
alter table public.ratings enable row level security;
create policy "ratings are public" on public.ratings for select using (true);
create policy "rate" on public.ratings for insert to authenticated
  with check (rater_id = (select auth.uid()));
create policy "rate anew" on public.ratings for update to authenticated
  using (rater_id = (select auth.uid()))
  with check (rater_id = (select auth.uid()));
alter publication supabase_realtime add table public.ratings;

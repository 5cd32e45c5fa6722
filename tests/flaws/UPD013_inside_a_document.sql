-- expect: UPD013
-- Shape: the trigger reads the time out of the payload the client sent.
create table public.sync_items (
  user_id uuid not null default auth.uid() references auth.users on delete cascade,
  key text not null check (length(key) < 200),
  meta jsonb not null default '{}' check (length(meta::text) < 500),
  updated_at timestamptz not null default clock_timestamp(),
  primary key (user_id, key)
);
create function public.sync_touch() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := coalesce(to_timestamp((new.meta ->> 'mtime')::double precision), clock_timestamp());
  else
    new.updated_at := clock_timestamp();
  end if;
  return new;
end
$$;
create trigger sync_touch before insert or update on public.sync_items for each row execute function public.sync_touch();
alter table public.sync_items enable row level security;
create policy "own items" on public.sync_items for all to authenticated
  using (user_id = (select auth.uid()))
  with check (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.sync_items;

-- expect: UPD010
-- Shape: the branch for UPDATE does the INSERT's work: tg_op <> 'UPDATE' where = was meant.
create table public.rooms (
  host_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  topic text not null default '',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (host_id, id)
);
create function public.room_touch() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op <> 'UPDATE' then
    new.updated_at := clock_timestamp();
  else
    new.updated_at := least(clock_timestamp(), old.updated_at);
  end if;
  return new;
end
$$;
create trigger room_touch before insert or update on public.rooms for each row execute function public.room_touch();
alter table public.rooms enable row level security;
create policy "own rooms (read)" on public.rooms for select to authenticated using (host_id = (select auth.uid()));
create policy "own rooms (add)" on public.rooms for insert to authenticated with check (host_id = (select auth.uid()));
create policy "own rooms (change)" on public.rooms for update to authenticated using (host_id = (select auth.uid())) with check (host_id = (select auth.uid()));
create policy "own rooms (remove)" on public.rooms for delete to authenticated using (host_id = (select auth.uid()));
alter publication supabase_realtime add table public.rooms;

-- expect: UPD011
-- Shape: new.version := new.version + 1 counts from what the client sent, so a client sets it back to 1 or up to a million.
create table public.whiteboards (
  owner_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  title text not null default '',
  version integer not null default 1,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (owner_id, id)
);
create function public.whiteboard_version() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.version := 1;
  else
    new.version := new.version + 1;
  end if;
  return new;
end
$$;
create trigger whiteboard_version before insert or update on public.whiteboards for each row execute function public.whiteboard_version();
create function public.handle_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := clock_timestamp();
    return new;
  end if;
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end
$$;
create trigger whiteboards_handle_updated_at before insert or update on public.whiteboards
  for each row execute function public.handle_updated_at();
alter table public.whiteboards enable row level security;
create policy "own whiteboards" on public.whiteboards for all to authenticated
  using (owner_id = (select auth.uid()))
  with check (owner_id = (select auth.uid()));
alter publication supabase_realtime add table public.whiteboards;

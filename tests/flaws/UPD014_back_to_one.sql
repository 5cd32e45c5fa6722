-- expect: UPD014
-- Shape: the version is set to 1 by every write of the trigger, so an update cannot be told from the first state.
create table public.settings (
  user_id uuid not null default auth.uid() references auth.users on delete cascade,
  name text not null,
  value text not null default '',
  version integer not null default 1,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (user_id, name)
);
create function public.settings_version() returns trigger language plpgsql set search_path = '' as $$
begin
  new.version := coalesce(null, 0) + 1;
  return new;
end
$$;
create trigger settings_version before insert or update on public.settings for each row execute function public.settings_version();
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
create trigger settings_handle_updated_at before insert or update on public.settings
  for each row execute function public.handle_updated_at();
alter table public.settings enable row level security;
create policy "own settings" on public.settings for all to authenticated
  using (user_id = (select auth.uid()))
  with check (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.settings;

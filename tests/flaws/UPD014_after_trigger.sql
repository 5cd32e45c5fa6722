-- expect: UPD014
-- Shape: the trigger that counts is an AFTER trigger: what it writes into NEW is thrown away.
create table public.scenes (
  author_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  name text not null default '',
  objects integer not null default 0,
  version bigint not null default 1,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (author_id, id)
);
create function public.bump_version() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.version := 1;
  else
    new.version := old.version + 1;
  end if;
  return new;
end
$$;
create trigger scenes_version_on_insert before insert on public.scenes for each row execute function public.bump_version();
create trigger scenes_version after update on public.scenes for each row execute function public.bump_version();
create function public.keep_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger scenes_keep_updated_at before insert or update on public.scenes
  for each row execute function public.keep_updated_at();
alter table public.scenes enable row level security;
create policy "own scenes" on public.scenes for all to authenticated
  using (author_id = (select auth.uid()))
  with check (author_id = (select auth.uid()));
alter publication supabase_realtime add table public.scenes;

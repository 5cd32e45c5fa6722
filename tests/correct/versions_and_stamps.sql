-- Shape: what looks as if it did not tell every change, and is right.
create function public.stamp() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end $$;
create function public.count() returns trigger language plpgsql set search_path = '' as $$
begin
  new.version := coalesce(old.version, 0) + 1;
  return new;
end $$;

-- Whoever writes sends the version that they know; another one is refused.
create table public.drawings (
  owner_id uuid not null default auth.uid(),
  id uuid not null default gen_random_uuid(),
  title text not null default '',
  version integer not null default 1,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (owner_id, id)
);
create function public.compare_version() returns trigger language plpgsql set search_path = '' as $$
begin
  if new.version is distinct from old.version then
    raise exception 'the drawing was changed meanwhile' using errcode = 'PT409';
  end if;
  return new;
end $$;
create trigger a_compare before update on public.drawings for each row execute function public.compare_version();
create trigger count before insert or update on public.drawings for each row execute function public.count();
create trigger stamp before insert or update on public.drawings for each row execute function public.stamp();

-- A version that is what the author calls it, and one that tells editions apart.
create table public.terms (
  author_id uuid not null default auth.uid(),
  id uuid not null default gen_random_uuid(),
  edition integer not null default 1,
  version text not null default '1.0',
  body text not null default '',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (author_id, id, edition)
);
create trigger stamp before insert or update on public.terms for each row execute function public.stamp();

-- Progress that never goes back, a protected column, a time of the source beside that of the change.
create table public.renderings (
  user_id uuid not null default auth.uid(),
  id uuid not null default gen_random_uuid(),
  progress smallint not null default 0 check (progress between 0 and 100),
  price numeric(8, 2) not null default 0,
  note text not null default '',
  reported_at timestamptz,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (user_id, id)
);
create function public.guard_rendering() returns trigger language plpgsql set search_path = '' as $$
begin
  new.progress := greatest(new.progress, old.progress);
  if current_user not in ('postgres', 'service_role') then
    new.price := coalesce(old.price, 0);
  end if;
  return new;
end $$;
create trigger a_guard before insert or update on public.renderings for each row execute function public.guard_rendering();
create trigger stamp before insert or update on public.renderings for each row execute function public.stamp();

alter table public.drawings enable row level security;
alter table public.terms enable row level security;
alter table public.renderings enable row level security;
create policy own on public.drawings for all to authenticated
  using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy own on public.terms for all to authenticated
  using (author_id = (select auth.uid())) with check (author_id = (select auth.uid()));
create policy own on public.renderings for all to authenticated
  using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
alter publication supabase_realtime add table
  public.drawings, public.terms, public.renderings;

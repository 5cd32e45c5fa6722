-- expect: UPD005
-- Shape: quests; the trigger keeps what is there, and in an UPDATE something always is.
create table public.quests (
  hero_id uuid not null,
  id uuid not null default gen_random_uuid(),
  stage integer not null default 0,
  updated_at timestamptz not null default now(),
  primary key (hero_id, id)
);
create function public.keep() returns trigger language plpgsql set search_path = '' as $$
begin new.updated_at = coalesce(new.updated_at, clock_timestamp()); return new; end $$;
create trigger keep before update on public.quests for each row execute function public.keep();
alter table public.quests enable row level security;
create policy own on public.quests for select to authenticated using (hero_id = (select auth.uid()));
alter publication supabase_realtime add table public.quests;

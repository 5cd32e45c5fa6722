-- expect: UPD007
-- Shape: articles; the trigger fires for UPDATE OF title only.
create table public.articles (
  writer_id uuid not null,
  id uuid not null default gen_random_uuid(),
  title text not null,
  body text not null default '',
  updated_at timestamptz not null default now(),
  primary key (writer_id, id)
);
create function public.keep() returns trigger language plpgsql set search_path = '' as $$
begin new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond'); return new; end $$;
create trigger keep before update of title on public.articles for each row execute function public.keep();
alter table public.articles enable row level security;
create policy own on public.articles for select to authenticated using (writer_id = (select auth.uid()));
alter publication supabase_realtime add table public.articles;

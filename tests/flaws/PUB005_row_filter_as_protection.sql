-- expect: PUB005
-- Shape: job offers; drafts are "hidden" by a row filter of the publication.
create table public.offers (
  company_id uuid not null,
  id uuid not null default gen_random_uuid(),
  draft boolean not null default true,
  title text not null,
  primary key (company_id, id)
);
alter table public.offers replica identity full;
alter table public.offers enable row level security;
create policy read on public.offers for select to anon, authenticated using (true);
alter publication supabase_realtime add table public.offers where (not draft);

-- expect: ACC001
-- Shape: diaries, not published; "is signed in" is taken for "is the author".
create table public.diary_pages (
  id uuid primary key default gen_random_uuid(), author_id uuid not null default auth.uid() references auth.users, body text not null
);
create index on public.diary_pages (author_id);
create table public.prompts (id integer primary key, question text not null);
alter table public.diary_pages enable row level security;
alter table public.prompts enable row level security;
create policy read on public.diary_pages for select to authenticated using ((select auth.uid()) is not null);
create policy write on public.diary_pages for insert to authenticated with check (author_id = (select auth.uid()));
create policy asked on public.prompts for select using (true);
alter publication supabase_realtime add table public.prompts;

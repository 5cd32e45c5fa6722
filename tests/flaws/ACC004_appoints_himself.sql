-- expect: ACC004
-- Shape: a newspaper; whoever is signed in may put himself on the list of editors, who read every draft.
create table public.editors (user_id uuid primary key references auth.users, since date not null default current_date);
create table public.drafts (
  author_id uuid not null default auth.uid() references auth.users, id uuid not null default gen_random_uuid(), text text not null,
  primary key (author_id, id)
);
create table public.sections (id integer primary key, name text not null);
alter table public.editors enable row level security;
alter table public.drafts enable row level security;
alter table public.sections enable row level security;
create policy own on public.editors for select to authenticated using (user_id = (select auth.uid()));
create policy enlist on public.editors for insert to authenticated with check (user_id = (select auth.uid()));
create policy read on public.drafts for select to authenticated using (
  author_id = (select auth.uid()) or exists (select from public.editors e where e.user_id = (select auth.uid()))
);
create policy asked on public.sections for select using (true);
alter publication supabase_realtime add table public.sections;

-- expect: UPD005
-- Shape: numbered answers of a form. A trigger selects INTO a variable of its own, and nothing writes updated_at.
create table public.answers (
  id uuid primary key default gen_random_uuid(),
  author_id uuid not null default auth.uid(),
  form text not null default 'f',
  number bigint not null default 0,
  updated_at timestamptz not null default now()
);
create index on public.answers (author_id);
alter table public.answers replica identity full;
alter table public.answers enable row level security;
create policy own on public.answers for all to authenticated
  using (author_id = (select auth.uid())) with check (author_id = (select auth.uid()));
create function public.number_it() returns trigger language plpgsql set search_path = '' as $$
declare
  n bigint;
begin
  select coalesce(max(a.number), 0) + 1 into n from public.answers a where a.form = new.form;
  if tg_op = 'INSERT' then new.number := n; end if;
  return new;
end $$;
create trigger number_it before insert or update on public.answers for each row execute function public.number_it();
alter publication supabase_realtime add table public.answers;

-- expect: UPD014
-- Shape: drafts; an INSERT takes the place of the draft that is there, so an upsert begins to count anew.
create table public.drafts (
  author_id uuid not null default auth.uid(),
  id uuid not null default gen_random_uuid(),
  body text not null default '',
  version integer not null default 1,
  primary key (author_id, id)
);
create function public.replace_draft() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    delete from public.drafts d where d.author_id = new.author_id and d.id = new.id;
    new.version := 1;
  else
    new.version := old.version + 1;
  end if;
  return new;
end $$;
create trigger replace_draft before insert or update on public.drafts for each row execute function public.replace_draft();
alter table public.drafts enable row level security;
create policy own on public.drafts for all to authenticated
  using (author_id = (select auth.uid())) with check (author_id = (select auth.uid()));
alter publication supabase_realtime add table public.drafts;

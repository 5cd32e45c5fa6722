-- expect: UPD015
-- Shape: uploads; the trigger that should drop what repeats itself looks at the state alone, and drops the progress.
create table public.uploads (
  user_id uuid not null default auth.uid(),
  id uuid not null default gen_random_uuid(),
  state text not null default 'waiting' check (state in ('waiting', 'running', 'stored')),
  bytes bigint not null default 0,
  primary key (user_id, id)
);
create function public.skip_repeated() returns trigger language plpgsql set search_path = '' as $$
begin
  if new.state = old.state then
    return null;
  end if;
  return new;
end $$;
create trigger skip_repeated before update on public.uploads for each row execute function public.skip_repeated();
alter table public.uploads enable row level security;
create policy own on public.uploads for select to authenticated using (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.uploads;

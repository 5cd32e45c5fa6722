-- expect: FUN007
-- Whoever writes "plan": "pro" into their user_metadata may export: the function reads it from auth.users, where it stands as they wrote it.
create table public.exports (
  user_id uuid not null references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  primary key (user_id, id)
);
alter table public.exports enable row level security;
create policy own on public.exports for select to authenticated using (user_id = (select auth.uid()));
revoke insert, update, delete on public.exports from anon, authenticated;
create function public.start_export() returns uuid language plpgsql security definer set search_path = '' as $$
declare
  made uuid;
begin
  if (select u.raw_user_meta_data ->> 'plan' from auth.users u where u.id = auth.uid()) is distinct from 'pro' then
    raise exception 'for the plan pro only' using errcode = '42501';
  end if;
  insert into public.exports (user_id) values (auth.uid()) returning id into made;
  return made;
end $$;
revoke execute on function public.start_export() from public, anon;
alter publication supabase_realtime add table public.exports;

-- expect: UPD011
-- Shape: a column of the row (imported) that the client writes tells the trigger to leave updated_at as it came.
create table public.contacts (
  user_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  name text not null,
  imported boolean not null default false,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (user_id, id)
);
create function public.contact_touch() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := clock_timestamp();
  elsif new.imported then
    null;   -- imports keep their time
  else
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  end if;
  return new;
end
$$;
create trigger contact_touch before insert or update on public.contacts for each row execute function public.contact_touch();
alter table public.contacts enable row level security;
create policy "own contacts" on public.contacts for all to authenticated
  using (user_id = (select auth.uid()))
  with check (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.contacts;

-- expect: UPD010
-- Shape: iF new = old THEN stamp: reversed, so a real change leaves updated_at as it was.
create table public.recipes (
  cook_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  title text not null,
  steps text not null default '',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (cook_id, id)
);
create function public.recipe_touch() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := clock_timestamp();
  elsif to_jsonb(new) - 'updated_at' = to_jsonb(old) - 'updated_at' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := old.updated_at;
  end if;
  return new;
end
$$;
create trigger recipe_touch before insert or update on public.recipes for each row execute function public.recipe_touch();
alter table public.recipes enable row level security;
create policy "own recipes" on public.recipes for all to authenticated
  using (cook_id = (select auth.uid()))
  with check (cook_id = (select auth.uid()));
alter publication supabase_realtime add table public.recipes;

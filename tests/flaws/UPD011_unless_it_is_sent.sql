-- expect: UPD011
-- Shape: the trigger stamps only if the client did not send another updated_at: an offline client sets it back or far ahead.
create table public.decks (id uuid primary key default gen_random_uuid(), owner_id uuid not null default auth.uid() references auth.users on delete cascade, name text not null);
create index on public.decks (owner_id);
create table public.cards (
  deck_id uuid not null references public.decks on delete cascade,
  id uuid not null default gen_random_uuid(),
  front text not null,
  back text not null default '',
  updated_at timestamptz not null default clock_timestamp(),
  primary key (deck_id, id)
);
create function public.cards_touch() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := clock_timestamp();
  elsif new.updated_at is not distinct from old.updated_at then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  end if;
  return new;
end
$$;
create trigger cards_touch before insert or update on public.cards for each row execute function public.cards_touch();
alter table public.decks enable row level security;
alter table public.cards enable row level security;
create policy "own decks (read)" on public.decks for select to authenticated using (owner_id = (select auth.uid()));
create policy "own decks (add)" on public.decks for insert to authenticated with check (owner_id = (select auth.uid()));
create policy "own decks (change)" on public.decks for update to authenticated using (owner_id = (select auth.uid())) with check (owner_id = (select auth.uid()));
create policy "own decks (remove)" on public.decks for delete to authenticated using (owner_id = (select auth.uid()));
create policy "cards of own decks (read)" on public.cards for select to authenticated using (deck_id in (select d.id from public.decks d where d.owner_id = (select auth.uid())));
create policy "cards of own decks (add)" on public.cards for insert to authenticated with check (deck_id in (select d.id from public.decks d where d.owner_id = (select auth.uid())));
create policy "cards of own decks (change)" on public.cards for update to authenticated using (deck_id in (select d.id from public.decks d where d.owner_id = (select auth.uid()))) with check (deck_id in (select d.id from public.decks d where d.owner_id = (select auth.uid())));
create policy "cards of own decks (remove)" on public.cards for delete to authenticated using (deck_id in (select d.id from public.decks d where d.owner_id = (select auth.uid())));
alter publication supabase_realtime add table public.cards;

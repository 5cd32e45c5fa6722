-- expect: UPD002
-- Shape: updated_at is a bigint of whole Unix seconds.
create table public.presence_states (
  user_id uuid not null default auth.uid() references auth.users on delete cascade,
  device text not null,
  state text not null default 'online',
  updated_at bigint not null default floor(extract(epoch from clock_timestamp()))::bigint,
  primary key (user_id, device)
);
create function public.presence_touch() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at := floor(extract(epoch from clock_timestamp()))::bigint;
  return new;
end
$$;
create trigger presence_touch before insert or update on public.presence_states for each row execute function public.presence_touch();
alter table public.presence_states enable row level security;
create policy "own devices (read)" on public.presence_states for select to authenticated using (user_id = (select auth.uid()));
create policy "own devices (add)" on public.presence_states for insert to authenticated with check (user_id = (select auth.uid()));
create policy "own devices (change)" on public.presence_states for update to authenticated using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy "own devices (remove)" on public.presence_states for delete to authenticated using (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.presence_states;

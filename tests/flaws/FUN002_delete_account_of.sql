-- expect: FUN002
-- One signed-in user deletes another user's account with all of its rows.
create table public.habits (
  user_id uuid not null default auth.uid() references auth.users on delete cascade,
  id uuid not null default gen_random_uuid(),
  name text not null,
  streak integer not null default 0,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (user_id, id)
);
create table public.check_ins (
  user_id uuid not null,
  habit_id uuid not null,
  day date not null default current_date,
  primary key (user_id, habit_id, day),
  foreign key (user_id, habit_id) references public.habits on delete cascade
);
create function public.touch_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger habits_touch_updated_at before insert or update on public.habits
  for each row execute function public.touch_updated_at();
alter table public.habits enable row level security;
alter table public.check_ins enable row level security;
create policy "own habits (read)" on public.habits for select to authenticated using (user_id = (select auth.uid()));
create policy "own habits (add)" on public.habits for insert to authenticated with check (user_id = (select auth.uid()));
create policy "own habits (change)" on public.habits for update to authenticated using (user_id = (select auth.uid())) with check (user_id = (select auth.uid()));
create policy "own habits (remove)" on public.habits for delete to authenticated using (user_id = (select auth.uid()));
create policy "own check-ins" on public.check_ins for select to authenticated
  using (user_id = (select auth.uid()));
create policy "check in" on public.check_ins for insert to authenticated
  with check (user_id = (select auth.uid()));
-- App Store rule 5.1.1: accounts can be deleted within the app
create function public.delete_account(account uuid) returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  delete from auth.users where id = account;
  return found;
end
$$;
revoke all on function public.delete_account(uuid) from public, anon;
grant execute on function public.delete_account(uuid) to authenticated;
alter publication supabase_realtime add table public.habits;

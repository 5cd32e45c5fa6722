-- expect: FUN006
-- REVOKE … ON ALL FUNCTIONS … FROM anon, authenticated leaves PUBLIC: a visitor gives himself the paid plan.
create table public.subscriptions (
  user_id uuid primary key references auth.users on delete cascade,
  plan text not null default 'free' check (plan in ('free', 'plus', 'team')),
  valid_until timestamptz,
  stripe_customer text,
  updated_at timestamptz not null default clock_timestamp()
);
create function public.keep_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  new.updated_at = clock_timestamp();
  if tg_op = 'UPDATE' and new.updated_at <= old.updated_at then
    new.updated_at = old.updated_at + interval '1 microsecond';
  end if;
  return new;
end
$$;
create trigger subscriptions_keep_updated_at before insert or update on public.subscriptions
  for each row execute function public.keep_updated_at();
alter table public.subscriptions enable row level security;
create policy "own subscription" on public.subscriptions for select to authenticated
  using (user_id = (select auth.uid()));
revoke insert, update, delete, truncate on public.subscriptions from anon, authenticated;
-- called by the stripe webhook with the service key
create function public.grant_subscription(p_user uuid, p_plan text, p_for interval default interval '1 month') returns void
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.subscriptions as s (user_id, plan, valid_until) values (p_user, p_plan, now() + p_for)
  on conflict (user_id) do update set plan = excluded.plan, valid_until = excluded.valid_until;
end
$$;
create function public.cancel_subscription(p_user uuid) returns void
language sql security definer set search_path = ''
as $$ update public.subscriptions set plan = 'free', valid_until = null where user_id = p_user $$;
revoke execute on all functions in schema public from anon, authenticated;
revoke execute on function public.cancel_subscription(uuid) from public;
grant execute on all functions in schema public to service_role;
alter publication supabase_realtime add table public.subscriptions;

-- expect: FUN005
-- Function and table belong to metering_owner, RLS is forced, and no policy names that role: usage is never counted.
create role metering_owner nologin;
grant metering_owner to postgres;
grant usage, create on schema public to metering_owner;
grant usage on schema auth to metering_owner;
create table public.usage_counters (
  user_id uuid not null references auth.users on delete cascade,
  period date not null,
  tokens bigint not null default 0,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (user_id, period)
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
create trigger usage_counters_touch_updated_at before insert or update on public.usage_counters
  for each row execute function public.touch_updated_at();
alter table public.usage_counters enable row level security;
create policy "own usage" on public.usage_counters for select to authenticated
  using (user_id = (select auth.uid()));
revoke insert, update, delete, truncate on public.usage_counters from anon, authenticated;
alter table public.usage_counters owner to metering_owner;
alter table public.usage_counters force row level security;
create function public.record_usage(used integer) returns void language plpgsql security definer set search_path = '' as $$
begin
  if auth.uid() is null or used is null or used < 0 then
    raise exception 'bad call';
  end if;
  insert into public.usage_counters as c (user_id, period, tokens)
    values (auth.uid(), date_trunc('month', now())::date, used)
    on conflict (user_id, period) do update set tokens = c.tokens + excluded.tokens;
end
$$;
alter function public.record_usage(integer) owner to metering_owner;
revoke all on function public.record_usage(integer) from public, anon;
grant execute on function public.record_usage(integer) to authenticated;
revoke create on schema public from metering_owner;
alter publication supabase_realtime add table public.usage_counters;

-- expect: MSG009
-- Kind: broadcast.before-trigger: one BEFORE trigger both stamps updated_at and broadcasts; a trigger that sorts after it rounds the value, so the broadcast differs from the row.
create schema iot;
grant usage on schema iot to authenticated;
create table iot.gateways (id text primary key check (id ~ '^gw-[0-9a-f]{6}$'), owner_id uuid not null references auth.users on delete cascade);
create index on iot.gateways (owner_id);
create table iot.metrics (
  gateway_id text not null references iot.gateways on delete cascade,
  name text not null,
  value numeric not null,
  updated_at timestamptz not null default clock_timestamp(),
  primary key (gateway_id, name)
);
grant select on iot.gateways, iot.metrics to authenticated;
create function iot.round_value() returns trigger language plpgsql set search_path = '' as $$
begin
  new.value := round(new.value, 2);
  return new;
end
$$;
create trigger z_round before insert or update on iot.metrics for each row execute function iot.round_value();
create function iot.stamp_and_tell() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  if tg_op = 'UPDATE' then
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  else
    new.updated_at := clock_timestamp();
  end if;
  perform realtime.send(to_jsonb(new), 'metric', 'gateway:' || new.gateway_id, true);
  return new;
end
$$;
create trigger a_stamp_and_tell before insert or update on iot.metrics for each row execute function iot.stamp_and_tell();
revoke all on function iot.stamp_and_tell() from public;
alter table iot.gateways enable row level security;
alter table iot.metrics enable row level security;
create policy "own gateways" on iot.gateways for select to authenticated
  using (owner_id = (select auth.uid()));
create policy "metrics of own gateways" on iot.metrics for select to authenticated
  using (gateway_id in (select g.id from iot.gateways g where g.owner_id = (select auth.uid())));
create policy "owner of the gateway" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) in (select 'gateway:' || g.id from iot.gateways g where g.owner_id = (select auth.uid())));

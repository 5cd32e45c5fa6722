-- expect: BRC005
-- Kind: broadcast.argument-order-swallowed: broadcast_changes is called without its event name: seven arguments became six, the error is swallowed.
create schema game;
grant usage on schema game to authenticated;
create table game.tables (id uuid primary key default gen_random_uuid(), turn_of uuid references auth.users, updated_at timestamptz not null default clock_timestamp());
create index on game.tables (turn_of);
create table game.seats (
  user_id uuid not null references auth.users on delete cascade,
  table_id uuid not null references game.tables on delete cascade,
  primary key (user_id, table_id)
);
create index on game.seats (table_id);
grant select on game.tables, game.seats to authenticated;
create function public.handle_updated_at() returns trigger language plpgsql set search_path = '' as $$
begin
  if tg_op = 'INSERT' then
    new.updated_at := clock_timestamp();
    return new;
  end if;
  new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
  return new;
end
$$;
create trigger tables_handle_updated_at before insert or update on game.tables
  for each row execute function public.handle_updated_at();
alter table game.tables enable row level security;
alter table game.seats enable row level security;
create policy "own seats" on game.seats for select to authenticated
  using (user_id = (select auth.uid()));
create policy "tables I sit at" on game.tables for select to authenticated
  using (id in (select s.table_id from game.seats s where s.user_id = (select auth.uid())));
create function game.tell_turn() returns trigger language plpgsql security definer set search_path = '' as $$
begin
  perform realtime.broadcast_changes('table:' || new.id, tg_op, tg_table_name, tg_table_schema, new, old);
  return null;
exception when others then
  raise notice 'realtime: %', sqlerrm;
  return null;
end
$$;
revoke all on function game.tell_turn() from public;
create trigger tell_turn after insert or update on game.tables for each row execute function game.tell_turn();
create policy "players of the table" on realtime.messages for select to authenticated
  using (extension = 'broadcast' and (select realtime.topic()) in (select 'table:' || s.table_id from game.seats s where s.user_id = (select auth.uid())));

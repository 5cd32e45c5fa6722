-- pgsodium's keys, and its functions on data as errors: what would come back is not encrypted. Supabase creates it no more.

do $schema$
begin
  if to_regnamespace('pgsodium') is null then
    create schema pgsodium;
  end if;
end
$schema$;
create type pgsodium.key_status as enum ('default', 'valid', 'invalid', 'expired');
create type pgsodium.key_type as enum (
  'aead-ietf', 'aead-det', 'hmacsha512', 'hmacsha256', 'auth', 'shorthash', 'generichash', 'kdf', 'secretbox',
  'secretstream', 'stream_xchacha20');
create table pgsodium.key (
  id uuid primary key default gen_random_uuid(),
  status pgsodium.key_status default 'valid',
  created timestamptz not null default current_timestamp,
  expires timestamptz,
  key_type pgsodium.key_type default 'aead-det',
  key_id bigserial,
  key_context bytea default '\x7067736f6469756d',
  name text unique,
  associated_data text default 'associated',
  raw_key bytea,
  raw_key_nonce bytea,
  parent_key uuid references pgsodium.key,
  comment text,
  user_data text
);
create view pgsodium.valid_key as
  select id, name, status, key_type, key_id, key_context, created, expires, associated_data from pgsodium.key
  where status in ('valid', 'default') and (expires is null or expires > now());

create function pgsodium.create_key(
  key_type pgsodium.key_type default 'aead-det', name text default null, raw_key bytea default null,
  raw_key_nonce bytea default null, parent_key uuid default null, key_context bytea default '\x7067736f6469756d',
  expires timestamptz default null, associated_data text default ''
) returns pgsodium.valid_key language plpgsql as $$
declare
  made pgsodium.valid_key;
begin
  insert into pgsodium.key as k (key_type, name, key_context, expires, associated_data)
  values (key_type, name, key_context, expires, associated_data)
  returning k.id, k.name, k.status, k.key_type, k.key_id, k.key_context, k.created, k.expires, k.associated_data into made;
  raise notice 'pgsodium is a stand-in of the local stack: nothing can be encrypted with this key';
  return made;
end
$$;
create function pgsodium.randombytes_buf(size integer) returns bytea language sql as $$
  select substring(string_agg(uuid_send(gen_random_uuid()), '') for size) from generate_series(0, size / 16)
$$;
create function pgsodium.crypto_aead_det_noncegen() returns bytea language sql as $$ select uuid_send(gen_random_uuid()) $$;
create function pgsodium.crypto_aead_det_encrypt(message bytea, additional bytea, key_uuid uuid, nonce bytea default null)
  returns bytea language plpgsql as $$
begin
  raise feature_not_supported using message = 'pgsodium is a stand-in of the local stack: nothing is encrypted';
end
$$;
create function pgsodium.crypto_aead_det_decrypt(message bytea, additional bytea, key_uuid uuid, nonce bytea default null)
  returns bytea language plpgsql as $$
begin
  raise feature_not_supported using message = 'pgsodium is a stand-in of the local stack: nothing is decrypted';
end
$$;
grant usage on schema pgsodium to postgres;
grant all on all tables in schema pgsodium to postgres;
grant usage on all sequences in schema pgsodium to postgres;

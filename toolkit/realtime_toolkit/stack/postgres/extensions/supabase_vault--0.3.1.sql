-- Supabase Vault: secrets by name. What is stored is only encoded (base64), not encrypted, and create_secret says so. Run
-- by `create extension supabase_vault`, and as a part of the baseline where there is no such extension.
-- Facts: nix/tests/expected/vault.out of supabase/postgres; a dump of a hosted project.

do $adopt$
begin
  if to_regnamespace('vault') is null then
    create schema vault;
  elsif to_regproc('extensions.toolkit_adopt') is not null then
    perform extensions.toolkit_adopt('supabase_vault', 'vault');
  end if;
end
$adopt$;

create or replace function vault._crypto_aead_det_noncegen() returns bytea language sql volatile as $$
  select uuid_send(gen_random_uuid())
$$;
create or replace function vault._crypto_aead_det_encrypt(
  message bytea, additional bytea, key_id bigint, context bytea default '\x7067736f6469756d', nonce bytea default null
) returns bytea language sql immutable as $$ select message $$;
create or replace function vault._crypto_aead_det_decrypt(
  message bytea, additional bytea, key_id bigint, context bytea default '\x7067736f6469756d', nonce bytea default null
) returns bytea language sql immutable as $$ select message $$;

create table if not exists vault.secrets (
  id uuid primary key default gen_random_uuid(),
  name text,
  description text not null default '',
  secret text not null,
  key_id uuid,
  nonce bytea default vault._crypto_aead_det_noncegen(),
  created_at timestamptz not null default current_timestamp,
  updated_at timestamptz not null default current_timestamp
);
create unique index if not exists secrets_name_idx on vault.secrets (name) where name is not null;

create or replace view vault.decrypted_secrets as
  select s.id, s.name, s.description, s.secret,
    convert_from(vault._crypto_aead_det_decrypt(decode(s.secret, 'base64'), convert_to(s.id::text, 'utf8'), 0, '\x7067736f6469756d', s.nonce), 'utf8')
      as decrypted_secret,
    s.key_id, s.nonce, s.created_at, s.updated_at
  from vault.secrets s;

create or replace function vault.create_secret(
  new_secret text, new_name text default null, new_description text default '', new_key_id uuid default null
) returns uuid language plpgsql security definer set search_path = '' as $$
declare
  made uuid;
begin
  insert into vault.secrets (secret, name, description)
  values (encode(convert_to(new_secret, 'utf8'), 'base64'), new_name, new_description)
  returning id into made;
  raise notice 'supabase_vault is a stand-in of the local stack: the secret is stored, not encrypted';
  return made;
end
$$;
create or replace function vault.update_secret(
  secret_id uuid, new_secret text default null, new_name text default null, new_description text default null,
  new_key_id uuid default null
) returns void language sql security definer set search_path = '' as $$
  update vault.secrets s set
    secret = coalesce(encode(convert_to(new_secret, 'utf8'), 'base64'), s.secret), name = coalesce(new_name, s.name),
    description = coalesce(new_description, s.description), updated_at = now()
  where s.id = secret_id
$$;

revoke all on all functions in schema vault from public;
grant usage on schema vault to postgres with grant option;
grant usage on schema vault to service_role;
grant select, references, delete, truncate on vault.secrets, vault.decrypted_secrets to postgres with grant option;
grant select, delete on vault.secrets, vault.decrypted_secrets to service_role;
grant execute on function vault.create_secret(text, text, text, uuid), vault.update_secret(uuid, text, text, text, uuid),
  vault._crypto_aead_det_decrypt(bytea, bytea, bigint, bytea, bytea) to postgres with grant option;
grant execute on function vault.create_secret(text, text, text, uuid), vault.update_secret(uuid, text, text, text, uuid),
  vault._crypto_aead_det_decrypt(bytea, bytea, bigint, bytea, bytea) to service_role;

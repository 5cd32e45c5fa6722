-- Part 7: what the extension supautils lets `postgres` do on a hosted project though it is no superuser and owns none of it:
-- make, change and drop policies on certain tables of auth, realtime and storage, drop triggers there, and create extensions
-- that others may not. A cluster of the stack's own has no supautils: event triggers give `postgres` the owner's membership,
-- or a superuser's right, for the one statement, which the checks of that statement see and nothing after it. Not needed
-- where `postgres` is superuser; left out on somebody else's cluster.
-- Facts: supautils.policy_grants and drop_trigger_grants (they are the same) and privileged_extensions of a hosted project, 2026.

set client_min_messages = warning;

do $supautils$
begin
  if not pg_temp.own_cluster() then
    return;
  end if;

  -- Only for statements that name the schema or the extension: others wait for nobody, and get no right that they do not
  -- need. (A grant is held until the transaction ends.)
  create or replace function extensions.toolkit_supautils() returns event_trigger
    language plpgsql security definer set search_path = '' as $function$
  declare
    owner text;
    stack text;
    begins boolean := tg_event = 'ddl_command_start';
    acting text := coalesce(nullif(current_setting('role'), 'none'), session_user);
    already boolean := (select rolsuper from pg_catalog.pg_roles where rolname = 'postgres');
  begin
    if acting <> 'postgres' or already and current_setting('toolkit.privileged', true) is distinct from 'yes' then
      return;
    end if;
    get diagnostics stack = pg_context;  -- the statement, where a function executes it
    stack := current_query() || stack;
    if tg_tag = 'CREATE EXTENSION' then
      if stack ~* ('extension\s+(if\s+not\s+exists\s+)?"?(address_standardizer|autoinc|bloom|btree_gi[ns]t?|citext|cube|'
        'dblink|dict_int|dict_xsyn|earthdistance|fuzzystrmatch|hstore|insert_username|intarray|isn|lo|ltree|moddatetime|'
        'pg_buffercache|pg_prewarm|pg_stat_statements|pg_trgm|pg_walinspect|pgcrypto|pgrowlocks|pgstattuple|postgis\w*|'
        'postgres_fdw|refint|seg|sslinfo|tablefunc|tcn|tsm_system_rows|tsm_system_time|unaccent|uuid-ossp|vector|xml2)\M') then
        execute case when begins then 'alter role postgres superuser' else 'alter role postgres nosuperuser' end;
        perform pg_catalog.set_config('toolkit.privileged', case when begins then 'yes' else 'no' end, true);
      end if;
      return;
    end if;
    foreach owner in array array['auth', 'realtime', 'storage'] loop
      continue when stack !~* ('\m' || owner || '\M');
      execute pg_catalog.format(
        case when begins then 'grant supabase_%s_admin to postgres' else 'revoke supabase_%s_admin from postgres' end, owner);
    end loop;
  end
  $function$;
  revoke execute on function extensions.toolkit_supautils() from public;

  drop event trigger if exists toolkit_supautils_start;
  create event trigger toolkit_supautils_start on ddl_command_start
    when tag in ('CREATE POLICY', 'ALTER POLICY', 'DROP POLICY', 'DROP TRIGGER', 'CREATE EXTENSION')
    execute function extensions.toolkit_supautils();
  drop event trigger if exists toolkit_supautils_end;
  create event trigger toolkit_supautils_end on ddl_command_end
    when tag in ('CREATE POLICY', 'ALTER POLICY', 'DROP POLICY', 'DROP TRIGGER', 'CREATE EXTENSION')
    execute function extensions.toolkit_supautils();
end
$supautils$;

reset client_min_messages;

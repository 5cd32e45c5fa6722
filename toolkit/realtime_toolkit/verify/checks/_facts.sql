-- What every check reads: put before each check's own query. Relations, not opinions.
--
-- The runner has set search_path to pg_catalog, so deparsed expressions and regclass texts are always
-- schema-qualified; and the settings toolkit.schemas (none: all) and toolkit.expected (tables that
-- must be published), JSON arrays of names, and toolkit.tracked (what track_table registered, as JSON).
-- Judged are tables of the user's own: not those of Supabase, of Postgres, of an extension or of this toolkit.
with recursive
publication as (
  select * from pg_publication where pubname = 'supabase_realtime'
),
-- The roles that a key or a token gives to a client. service_role bypasses RLS and is not judged.
api as (
  select oid as role, rolname as name from pg_roles where rolname in ('anon', 'authenticated')
),
user_schema as (
  select oid, nspname as name from pg_namespace
  where nspname !~ '^(pg_|supabase_|_)'
    and nspname <> all (array[
      'information_schema', 'auth', 'storage', 'realtime', 'extensions', 'graphql', 'graphql_public', 'vault',
      'pgsodium', 'pgsodium_masks', 'net', 'cron', 'pgbouncer', 'pgmq', 'pgmq_public', 'pgtle', 'repack',
      'tiger', 'tiger_data', 'topology', 'dbdev', 'etl'
    ])
),
own_schema as (  -- those to be judged
  select * from user_schema
  where current_setting('toolkit.schemas') = '[]' or current_setting('toolkit.schemas')::jsonb ? name
),
own_table as materialized (
  select
    c.oid as relid, c.relname as name, s.name as schema, c.oid::regclass::text as fqn, c.relkind as kind,
    c.relowner as owner, c.relrowsecurity as rls, c.relforcerowsecurity as forced, c.relreplident as replident,
    c.relispartition as is_partition
  from pg_class c join own_schema s on s.oid = c.relnamespace
  where c.relkind in ('r', 'p') and c.relpersistence <> 't' and s.name <> 'realtime_toolkit'
    and not exists (
      select from pg_depend d
      where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
    )
),
own_column as (
  select
    t.relid, t.fqn, a.attnum, a.attname as name, a.attnotnull as not_null, a.atthasdef as has_default,
    a.attidentity as identity, a.attgenerated as generated, a.attstorage as storage,
    a.atttypid as type, a.atttypmod as typmod, coalesce(nullif(y.typbasetype, 0), y.oid)::regtype::text as base_type,
    p.pattern
  from own_table t
  join pg_attribute a on a.attrelid = t.relid and a.attnum > 0 and not a.attisdropped
  join pg_type y on y.oid = a.atttypid
  -- The name as an expression writes it, for regular expressions.
  cross join lateral (
    select case when quote_ident(a.attname) = a.attname then '\m' || replace(a.attname, '$', '\$') || '(?![\w$])'
      else regexp_replace(quote_ident(a.attname), '[][\\(){}.*+?^$|]', '\\\&', 'g') end as pattern
  ) as p
),
-- What the publication names: here a partitioned root stands for itself.
named as (
  select r.prrelid as relid, r.prqual as row_filter, r.prattrs as column_list, r.oid as entry
  from publication p join pg_publication_rel r on r.prpubid = p.oid
),
-- What Realtime is told of: partitions in place of their root, unless published via the root.
published as materialized (
  select t.* from own_table t
  where t.relid in (select g.relid from publication p, lateral pg_get_publication_tables(p.pubname) g)
),
primary_key as (
  select i.indrelid as relid, i.indimmediate as immediate, i.indkey::int2[] as cols
  from pg_index i join own_table t on t.relid = i.indrelid
  where i.indisprimary and i.indisvalid
),
-- The columns by which the log names an old row; null where there are none, and UPDATE and DELETE then fail.
identity as materialized (
  select t.relid, t.replident as kind,
    case t.replident
      when 'f' then (select array_agg(a.attnum) from pg_attribute a
                     where a.attrelid = t.relid and a.attnum > 0 and not a.attisdropped)
      when 'd' then (select k.cols from primary_key k where k.relid = t.relid and k.immediate)
      when 'i' then (select i.indkey::int2[] from pg_index i
                     where i.indrelid = t.relid and i.indisreplident and i.indisvalid)
    end as cols
  from own_table t
),
-- Who may select at least one column, as a Realtime subscription needs.
reader as (
  select t.relid, a.role, a.name as role_name from own_table t, api a
  where has_schema_privilege(a.role, t.schema, 'usage') and has_any_column_privilege(a.role, t.relid, 'select')
),
policy as materialized (
  select
    p.oid as policy, p.polrelid as relid, t.fqn, p.polname as name, p.polcmd as cmd, p.polpermissive as permissive,
    p.polroles as roles, x.qual, x.wcheck,
    -- What it lets be read, whoever asks: all, so that the planner folds away every permissive policy beside it …
    x.qual ~* '^\(*true\)*$|^\(*(\d+|''[^'']*''::\w+) = \1\)*$|\mOR true\M|\(true OR\M' as always,
    -- … or nothing. A policy without USING (FOR ALL with a WITH CHECK alone) lets nothing be read either.
    coalesce(x.qual ~* '^\(*(false|null::boolean|0 = 1|1 = 0|1 = 2|2 = 1)\)*$'
      or x.qual ~* '\mAND false\M|\(false AND\M' and x.qual !~* '\mOR\M', true) as never
  from pg_policy p join own_table t on t.relid = p.polrelid
  cross join lateral (
    select pg_get_expr(p.polqual, p.polrelid) as qual, pg_get_expr(p.polwithcheck, p.polrelid) as wcheck
  ) as x
),
policy_role as materialized (
  select p.policy, p.relid, a.role, a.name as role_name from policy p, api a
  where exists (select from unnest(p.roles) r where r = 0 or pg_has_role(a.role, r, 'usage'))
),
-- Functions that a policy calls, other than Postgres' own.
policy_function as materialized (
  select p.policy, d.refobjid as function, f.pronamespace::regnamespace::text as schema, f.proname as name, f.prosrc as body
  from policy p
  join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.policy and d.refclassid = 'pg_proc'::regclass
  join pg_proc f on f.oid = d.refobjid
),
-- Policies whose answer depends on who asks. The role alone is not an identity.
personal as materialized (
  select p.policy from policy p
  where coalesce(p.qual, '') || coalesce(p.wcheck, '') ~* 'current_setting\('
    or exists (select from policy_function f where f.policy = p.policy and not (f.schema = 'auth' and f.name = 'role'))
),
-- Where a policy that is always true stands beside the others.
open_read as materialized (
  select distinct p.relid, r.role from policy p join policy_role r using (policy)
  where p.permissive and p.cmd in ('r', '*') and p.always
),
-- Tables whose rows a role sees whoever the user is: published on purpose.
public_read as materialized (
  select t.relid, a.role from own_table t, api a where not t.rls
  union (
    select p.relid, r.role from policy p join policy_role r using (policy)
    where p.permissive and p.cmd in ('r', '*') and not p.never and p.policy not in (select policy from personal)
    except
    select p.relid, r.role from policy p join policy_role r using (policy)
    where not p.permissive and p.cmd in ('r', '*') and p.policy in (select policy from personal)
  )
),
-- Columns by which reading is restricted, so those that a subscription filters on: scope, owner, tenant.
-- A column that is only compared with constants (a status, a flag) is none.
filter_column as materialized (
  select distinct c.relid, c.fqn, c.attnum, c.name
  from policy p
  join policy_role r using (policy)
  join pg_depend d on d.classid = 'pg_policy'::regclass and d.objid = p.policy
    and d.refclassid = 'pg_class'::regclass and d.refobjid = p.relid and d.refobjsubid > 0
  join own_column c on c.relid = p.relid and c.attnum = d.refobjsubid
  where p.permissive and p.cmd in ('r', '*') and p.policy in (select policy from personal)
    and (p.relid, r.role) not in (select relid, role from public_read)
    and c.base_type in ('uuid', 'smallint', 'integer', 'bigint', 'text', 'character varying', 'character', 'citext',
                        'extensions.citext', 'public.citext')
    -- Compared for equality, in a list, or given to a function that decides …
    and p.qual ~ format($re$%1$s\)*(::[a-z ]+)?\)* (= |IN \()|(=|\?) \(*(([\w$]+|"([^"]|"")+")\.)?%1$s|\[[^]]*%1$s|\w\.\w+"?\([^()]*%1$s$re$, c.pattern)
    -- … and not with a constant.
    and p.qual !~ format($re$%s\)?(::text)? (=|<>|>|<|>=|<=|~~|!~~) (ANY \(+ARRAY\[)?('|[0-9])$re$, c.pattern)
),
-- Trigger functions and others that send to a private or public topic from the database.
sender as (
  select f.oid as function, f.prosecdef as definer, f.proconfig as config, f.prorettype = 'trigger'::regtype as is_trigger,
    f.oid::regprocedure::text as signature
  from pg_proc f join own_schema s on s.oid = f.pronamespace
  where f.prokind in ('f', 'p')
    and coalesce(f.prosrc, '') || coalesce(pg_get_function_sqlbody(f.oid), '')
        ~* '\mrealtime\s*\.\s*"?(send|send_binary|broadcast_changes)"?\s*\('
),
tracked as (
  select t.relid, x.kind, x.scope_column
  from jsonb_to_recordset(current_setting('toolkit.tracked')::jsonb) as x (relation text, kind text, scope_column text)
  join own_table t on t.relid = to_regclass(x.relation)
),
-- The column by which a published table says when a row last changed.
change_time as materialized (
  select c.*, p.schema, p.name as table_name
  from published p join own_column c using (relid)
  where p.relid not in (select relid from tracked)  -- TRK001 judges those
    and c.name ~* '^(last_?)?(updated|modified|changed)_?(at|on|time|ts|date)$'
),
-- Row triggers before UPDATE whose function writes that column, with the expression it writes where that can be read: where
-- there are several, which of them holds for an UPDATE is found by trying.
-- A function of another language than PL/pgSQL is believed by its arguments: moddatetime(updated_at) is such a one.
keeper as materialized (
  select
    c.relid, c.name as column_name, g.oid as trigger, g.tgname as name, g.tgenabled as enabled, g.tgattr::int2[] as only_columns,
    g.tgtype & 4 = 4 as inserts, pg_get_triggerdef(g.oid) as definition, f.oid::regproc::text as function, s.source,
    (select case when count(distinct w.expr[1]) = 1 then min(w.expr[1]) end from regexp_matches(s.source,
      '(?:\mbegin|\mthen|\melse|;)\s*new\s*\.\s*"?' || lower(c.name) || '"?\s*:?=\s*([^;]+)', 'g') as w (expr)) as written
  from change_time c
  join pg_trigger g on g.tgrelid = c.relid and not g.tgisinternal and g.tgtype::int & (1 | 2 | 16) = (1 | 2 | 16)
  join pg_proc f on f.oid = g.tgfoid
  join pg_language l on l.oid = f.prolang
  cross join lateral (
    select case when l.lanname = 'plpgsql'
      then lower(regexp_replace(regexp_replace(f.prosrc, '--[^\n]*', '', 'g'), '/\*.*?\*/', '', 'g'))
      else '' end as source
  ) as s
  where s.source ~ ('new\s*\.\s*"?' || lower(c.name) || '"?\s*:?=')
    or s.source ~ ('''' || lower(c.name) || '''')
    or position(convert_to(lower(c.name), 'UTF8') in g.tgargs) > 0
    or s.source ~ ('\mselect\M[^;]*\minto\s+(strict\s+)?([^;]*,\s*)?new\s*\.\s*"?' || lower(c.name) || '\M')
),
-- By the catalog: to_regclass would raise for a role without USAGE on the schema.
message_table as (
  select c.oid, c.relrowsecurity as rls from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = 'realtime' and c.relname = 'messages'
),
-- Policies on realtime.messages decide who may join a private channel (SELECT) and send on it (INSERT).
channel_policy as materialized (
  select p.*, array_remove(array[
      case when x.expr !~ 'extension' or x.expr ~ '''broadcast''' then 'broadcast' end,
      case when x.expr !~ 'extension' or x.expr ~ '''presence''' then 'presence' end], null) as extensions,
    x.expr ~* '^\(*true\)*$|^\(*(\d+|''[^'']*''::\w+) = \1\)*$|\mOR true\M|\(true OR\M' as always,
    array(select a.name::text from api a where exists (
      select from unnest(p.roles) r where r = 0 or pg_has_role(a.role, r, 'usage')) order by 1) as role_names
  from (
    select oid as policy, polname as name, polcmd as cmd, polpermissive as permissive, polroles as roles,
      pg_get_expr(polqual, polrelid) as qual, pg_get_expr(polwithcheck, polrelid) as wcheck
    from pg_policy where polrelid in (select oid from message_table)
  ) as p
  cross join lateral (
    select coalesce(case when p.cmd = 'a' then p.wcheck else p.qual end, p.wcheck) as expr
  ) as x
),
-- Functions and procedures of the user's own, with their body as text.
routine as materialized (
  select
    f.oid as function, f.proname as name, s.name as schema, f.oid::regprocedure::text as signature, f.prosecdef as definer,
    f.proconfig as config, f.proowner as owner, f.proacl as acl, l.lanname as language,
    f.prorettype in ('trigger'::regtype, 'event_trigger'::regtype) as is_trigger, f.prosqlbody is not null as parsed,
    regexp_replace(regexp_replace(coalesce(pg_get_function_sqlbody(f.oid), f.prosrc, ''), '--[^\n]*', '', 'g'), '/\*.*?\*/', '', 'g')
      as source
  from pg_proc f join own_schema s on s.oid = f.pronamespace join pg_language l on l.oid = f.prolang
  where f.prokind in ('f', 'p') and s.name <> 'realtime_toolkit'
    and not exists (
      select from pg_depend d
      where d.classid = 'pg_proc'::regclass and d.objid = f.oid and d.deptype = 'e'
    )
),
-- Schemas whose functions PostgREST may serve: a schema of helpers for policies has no table and no name for clients.
served_schema as materialized (
  select s.oid, s.name from own_schema s
  where s.name = 'public' or s.name ~* '(^|_)(api|rpc|rest|graphql|v\d+)(_|$)'
    or s.name !~* '(^|_)(private|internal|hidden)(_|$)' and exists (
      select from api a join pg_class c on c.relnamespace = s.oid and c.relkind in ('r', 'p', 'v', 'm')
      where has_schema_privilege(a.role, s.oid, 'usage') and has_any_column_privilege(a.role, c.oid, 'select')
    )
),
-- Functions that a client's role can call over the API.
callable as materialized (
  select r.function, a.role, a.name as role_name
  from routine r join served_schema s on s.name = r.schema, api a
  where not r.is_trigger and has_schema_privilege(a.role, s.oid, 'usage') and has_function_privilege(a.role, r.function, 'execute')
),
-- Who reads rows whoever they are: by a policy that asks nothing about the person, or only whether there is one.
everybody_reads as materialized (
  select relid, role from public_read
  union
  select p.relid, r.role from policy p join policy_role r using (policy)
  where p.permissive and p.cmd in ('r', '*')
    and p.qual ~* '^\(*(SELECT )?auth\.uid\(\)( AS uid)?\)* IS NOT NULL\)*$'
),
-- Columns whose name says that they are not for everybody, as snake_case: secret (whoever has it may do something), private
-- (about a person) and contact (private in a row that is a person's, public in that of a shop).
telling_column as materialized (
  select c.relid, c.attnum, c.name, case
      when c.base_type in ('text', 'character varying', 'character', 'bytea', 'uuid', 'json', 'jsonb') and (
        n.snake ~ ('(^|_)(api_?key|client_secret|webhook_secret|signing_(key|secret)|private_key|service_(role_)?key|secret_key|secret|(access|refresh|auth|bearer|'
          || 'bot|oauth|session|id|reset|verification|confirmation|invite|invitation|magic|api|share|unsubscribe)_token|password|passwd|pwd|passphrase|credentials?|'
          || 'recovery_codes?|backup_codes?|(invite|invitation|join|verification|reset|access)_code|connection_string|database_url|otp|passcode)'
          || '(_(hash|enc|encrypted|ciphertext|value|text|digest))?$')
        or n.snake ~ '^(token|token_hash|hashed_token|key_hash|hashed_key|(hashed|encrypted)_(password|token|key|secret)|encryption_key)$'
        or n.snake ~ '^(key|value|hash)$' and t.name ~* '(^|_)(api_?keys?|secrets?|tokens?|credentials?|passwords?)$'
      ) then 'secret'
      when n.snake ~ ('(^|_)(ssn|social_security(_(number|no))?|tax_?(id|number|no)|vat_number|national_id(_number)?|id_number|passport(_(number|no))?|'
          || '(driver_?s?_?)?licen[cs]e_(number|no)|iban|bic|bank_account(_(number|no))?|account_number|routing_number|card_number|credit_card|cvv|cvc|'
          || 'date_of_birth|birth_?(date|day)|dob|born_on|diagnos(is|es)|medical_\w+|medication|blood_type|allergies|dietary_\w+|salary|income|'
          || 'stripe_(customer|account)(_id)?|ip(_address)?|(last|signup|sign_in|login)_ip|(device|push|fcm|apns|expo)_token|home_(address|lat|lng|location)|'
          || 'emergency_contact\w*|private_(notes?|email|phone|address))$') then 'private'
      when n.snake ~ ('(^|_)(e_?mail(_address)?|phone(_(number|no))?|mobile(_(number|no))?|telephone|whatsapp|address(_?line_?\d)?|street(_\w+)?|postal_code|'
          || 'zip(_?code)?|lat|lng|latitude|longitude|(current|last|last_known)_location)$') then 'contact'
    end as kind
  from own_column c
  join own_table t using (relid)
  cross join lateral (select lower(regexp_replace(c.name, '([a-z0-9])([A-Z])', '\1_\2', 'g')) as snake) as n
),
-- Tables of which each row is a person's: a user is (part of) a key, or the name says so.
person_table as materialized (
  select t.relid from own_table t
  where t.name ~* '(^|_)(users?|profiles?|members?|people|persons?|customers?|patients?|students?|players?|contacts?|attendees?|guests?|leads?|subscribers?|sign_?ups?|registrations?|reservations?|bookings?|rsvps?|waitlist|wait_list)$'
    or exists (
      select from pg_index i join pg_constraint k on k.conrelid = t.relid and k.contype = 'f' and k.confrelid = to_regclass('auth.users')
      where i.indrelid = t.relid and i.indisunique and k.conkey[1] = any (i.indkey::int2[])
    )
),
-- What of them a role reads of whosever row: all rows are open to it, or those with a flag, and the column is granted.
shown_column as materialized (
  select c.relid, c.attnum, c.name, c.kind, o.role, a.name as role_name
  from telling_column c
  join own_table t on t.relid = c.relid and t.rls
  join (
    select relid, role from everybody_reads
    union
    select p.relid, r.role from policy p join policy_role r using (policy)
    where p.permissive and p.cmd in ('r', '*')
      and p.qual ~ '^\(\w+ OR |^\(\(\w+ = (''[^'']*''(::[\w. ]+)?|true)\) OR | OR \w+\)$| OR \(\w+ = (''[^'']*''(::[\w. ]+)?|true)\)\)$'
  ) as o on o.relid = c.relid
  join api a using (role)
  where c.kind is not null
    and has_schema_privilege(o.role, t.schema, 'usage') and has_column_privilege(o.role, c.relid, c.attnum, 'select')
    and (c.kind <> 'contact' or c.relid in (select relid from person_table))
    -- What people chose to show: a policy that asks show_email, phone_public.
    and not exists (
      select from policy p join own_column f on f.relid = p.relid and f.base_type = 'boolean'
      where p.relid = c.relid and p.cmd in ('r', '*') and p.qual ~ f.pattern and f.name ~* c.name
    )
)

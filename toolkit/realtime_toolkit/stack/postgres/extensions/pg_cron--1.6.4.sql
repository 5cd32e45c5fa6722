-- pg_cron's names without its scheduler: jobs are recorded, none is ever run. Run by `create extension pg_cron`, and as a
-- part of the baseline, for projects in which the dashboard enabled it. Facts: the README of citusdata/pg_cron.

do $adopt$
begin
  if to_regnamespace('cron') is null then
    create schema cron;
  elsif to_regproc('extensions.toolkit_adopt') is not null then
    perform extensions.toolkit_adopt('pg_cron', 'cron');
  end if;
end
$adopt$;

create sequence if not exists cron.jobid_seq;
create table if not exists cron.job (
  jobid bigint primary key default nextval('cron.jobid_seq'),
  schedule text not null,
  command text not null,
  nodename text not null default 'localhost',
  nodeport integer not null default coalesce(inet_server_port(), 5432),
  database text not null default current_database(),
  username text not null default current_user,
  active boolean not null default true,
  jobname text,
  constraint jobname_username_uniq unique (jobname, username)
);
create sequence if not exists cron.runid_seq;
create table if not exists cron.job_run_details (
  jobid bigint,
  runid bigint primary key default nextval('cron.runid_seq'),
  job_pid integer,
  database text,
  username text,
  command text,
  status text,
  return_message text,
  start_time timestamptz,
  end_time timestamptz
);
alter table cron.job enable row level security;
alter table cron.job_run_details enable row level security;
do $policies$
begin
  if not exists (select from pg_policy where polrelid = 'cron.job'::regclass) then
    create policy cron_job_policy on cron.job using (username = current_user);
    create policy cron_job_run_details_policy on cron.job_run_details using (username = current_user);
  end if;
end
$policies$;

-- A job of this name and user is replaced, as by the genuine function.
create or replace function cron.schedule_in_database(
  job_name text, schedule text, command text, database text, username text default null, active boolean default true
) returns bigint language plpgsql security definer set search_path = '' as $$
declare
  owner text := coalesce(schedule_in_database.username, nullif(current_setting('role'), 'none'), session_user);
  id bigint;
begin
  if schedule !~* '^\s*(@(yearly|annually|monthly|weekly|daily|midnight|hourly|reboot)|([0-9*/,$a-z-]+\s+){4}[0-9*/,$a-z-]+|[1-5]?[0-9]\s+seconds?)\s*$' then
    raise invalid_parameter_value using message = format('invalid schedule: %s', schedule),
      hint = 'Use cron format (e.g. 5 4 * * *), or interval format ''[1-59] seconds''';
  end if;
  insert into cron.job as j (schedule, command, database, username, active, jobname)
  values (schedule, command, database, owner, active, job_name)
  on conflict on constraint jobname_username_uniq do update
    set schedule = excluded.schedule, command = excluded.command, database = excluded.database, active = excluded.active
  returning j.jobid into id;
  raise notice 'pg_cron is a stand-in of the local stack: job % is recorded, and never run', coalesce(quote_literal(job_name), id::text);
  return id;
end
$$;
create or replace function cron.schedule(job_name text, schedule text, command text) returns bigint
  language sql as $$
  select cron.schedule_in_database($1, $2, $3, current_database()::text)
$$;
create or replace function cron.schedule(schedule text, command text) returns bigint language sql as $$
  select cron.schedule_in_database(null, $1, $2, current_database()::text)
$$;

create or replace function cron.unschedule(job_id bigint) returns boolean
  language plpgsql security definer set search_path = '' as $$
begin
  delete from cron.job where jobid = job_id;
  if not found then
    raise exception 'could not find valid entry for job ''%''', job_id;
  end if;
  return true;
end
$$;
create or replace function cron.unschedule(job_name text) returns boolean
  language plpgsql security definer set search_path = '' as $$
begin
  delete from cron.job
  where jobname = job_name and username = coalesce(nullif(current_setting('role'), 'none'), session_user);
  if not found then
    raise exception 'could not find valid entry for job ''%''', job_name;
  end if;
  return true;
end
$$;

create or replace function cron.alter_job(
  job_id bigint, schedule text default null, command text default null, database text default null,
  username text default null, active boolean default null
) returns void language plpgsql security definer set search_path = '' as $$
begin
  update cron.job j set schedule = coalesce(alter_job.schedule, j.schedule), command = coalesce(alter_job.command, j.command),
    database = coalesce(alter_job.database, j.database), username = coalesce(alter_job.username, j.username),
    active = coalesce(alter_job.active, j.active)
  where j.jobid = job_id;
  if not found then
    raise exception 'Job % does not exist or you don''t own it', job_id;
  end if;
  raise notice 'pg_cron is a stand-in of the local stack: job % is recorded, and never run', job_id;
end
$$;

-- As Supabase grants it: the jobs to read, all else through the functions.
grant usage on schema cron to postgres with grant option;
grant select on cron.job to postgres with grant option;
grant all on cron.job_run_details to postgres with grant option;

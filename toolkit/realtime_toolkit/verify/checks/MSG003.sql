-- MSG003: A policy on realtime.messages does not ask for the topic
-- Without realtime.topic() (or the column topic) it lets whoever satisfies it into every private topic. A function that it
-- calls may ask in its place.
select
  'MSG003' as code, 'error' as level, format('policy %I on realtime.messages', name) as object,
  format('The policy %I on realtime.messages does not ask for realtime.topic(): it holds for every private topic.', name) as detail,
  format('alter policy %I on realtime.messages %s;', name, concat_ws(' ',
    'using (realtime.topic() = /* the topic of this user */ and ' || qual || ')',
    'with check (realtime.topic() = /* the topic of this user */ and ' || wcheck || ')')) as fix,
  name as fingerprint
from channel_policy c
where not always and permissive and cmd in ('r', 'a', '*') and role_names <> '{}'
  and coalesce(qual, '') || ' ' || coalesce(wcheck, '') !~ 'realtime\.topic\(\)|\mtopic\M|realtime\.topic'
  and not exists (
    select from pg_depend d join pg_proc f on f.oid = d.refobjid
    where d.classid = 'pg_policy'::regclass and d.objid = c.policy and d.refclassid = 'pg_proc'::regclass
      and f.prosrc ~ 'realtime\.topic'
  )

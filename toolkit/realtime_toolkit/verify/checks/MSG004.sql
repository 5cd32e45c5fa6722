-- MSG004: A policy on realtime.messages does not ask for the extension
-- Broadcast and presence are authorized by rows that differ in the column extension only: a policy that does not look at it
-- grants both.
select
  'MSG004' as code, 'warning' as level, format('policy %I on realtime.messages', name) as object,
  format('The policy %I on realtime.messages has no extension predicate: it grants broadcast and presence alike.', name) as detail,
  format('alter policy %I on realtime.messages %s;', name, concat_ws(' ',
    'using (extension = ''broadcast'' and ' || qual || ')', 'with check (extension = ''broadcast'' and ' || wcheck || ')')) as fix,
  name as fingerprint
from channel_policy c
where not always and permissive and cmd in ('r', 'a', '*') and role_names <> '{}'
  and coalesce(qual, '') || ' ' || coalesce(wcheck, '') !~ '\mextension\M'
  -- MSG003 has those that ask for no topic either
  and (coalesce(qual, '') || ' ' || coalesce(wcheck, '') ~ '\mtopic\M' or exists (
    select from pg_depend d join pg_proc f on f.oid = d.refobjid
    where d.classid = 'pg_policy'::regclass and d.objid = c.policy and d.refclassid = 'pg_proc'::regclass
      and f.prosrc ~ 'realtime\.topic' and f.prosrc !~ '\mextension\M'
  ))

-- PUB010: REPLICA IDENTITY FULL with RLS off: whole old rows leak
-- With RLS off Realtime sends the old row of every UPDATE and DELETE to every subscriber, and under FULL that is the
-- whole row. (With RLS on a DELETE carries the primary key only.)
select
  'PUB010' as code, 'error' as level, t.fqn as object,
  format('%s is published with REPLICA IDENTITY FULL while row level security is off: the whole old row of every UPDATE and '
    'DELETE goes to every subscriber of %s.', t.fqn, string_agg(r.role_name, ', ' order by r.role_name)) as detail,
  format('alter table %s enable row level security;', t.fqn) as fix,
  t.fqn as fingerprint
from published t join reader r using (relid)
where t.replident = 'f' and not t.rls
group by t.relid, t.fqn

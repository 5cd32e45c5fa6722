-- PUB009: A published table has no primary key (Error 400)
-- Realtime then sends INSERT and UPDATE with an empty record and the error "Error 400: Bad Request, no primary key",
-- however the replica identity is set.
select
  'PUB009' as code, 'error' as level, t.fqn as object,
  format('%s is published and has no primary key: subscribers get empty records with "Error 400: Bad Request, no primary key".',
    t.fqn) as detail,
  format('alter table %s add column id bigint generated always as identity primary key;', t.fqn) as fix,
  t.fqn as fingerprint
from published t join identity i using (relid)
where t.kind = 'r' and i.cols is not null and t.relid not in (select relid from primary_key)

-- RLS002: A published table that no policy lets anybody read
-- With RLS on and no SELECT policy for anon or authenticated (one that is constantly false counts for none), Realtime delivers no INSERT and no UPDATE to any user. For a
-- partition its own policies count, not those of its root.
select
  'RLS002' as code, 'warning' as level, t.fqn as object,
  format('%s is published and row level security is on, but no policy lets anon or authenticated SELECT%s: no user '
    'ever receives a change%s.', t.fqn,
    (select ' (' || string_agg(quote_ident(p.name), ', ' order by p.name) || ' is never true)' from policy p
     where p.relid = t.relid and p.cmd in ('r', '*') and p.never),
    case when t.is_partition then ' (Realtime evaluates the policies of the partition, not those of its root)' else '' end) as detail,
  format('create policy %I on %s for select to authenticated using (/* who may read */);', t.name || '_select', t.fqn) as fix,
  t.fqn as fingerprint
from published t
where t.rls and t.kind = 'r'
  and exists (select from reader r where r.relid = t.relid)
  and not exists (
    select from policy p join policy_role r using (policy)
    where p.relid = t.relid and p.permissive and p.cmd in ('r', '*') and not p.never
      and not exists (
        select from policy w join policy_role q using (policy)
        where w.relid = t.relid and not w.permissive and w.cmd in ('r', '*') and w.never and q.role = r.role)
  )

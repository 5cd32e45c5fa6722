-- MSG010: A function sends protected rows to a public topic
-- A public topic (private => false) asks nobody who they are: whoever has the project's public key may join it. Judged are
-- functions that clients call and that have to do with a table whose policies ask who is there; what triggers send is tried.
select
  'MSG010' as code, 'error' as level, format('function %s', s.signature) as object,
  format('The function %s sends to a public topic, and has to do with %s, which is not public: whoever has the project''s public '
    'key may listen.', s.signature, string_agg(distinct t.fqn, ', ')) as detail,
  '-- send to a private topic, realtime.send(…, private => true), and let the policies of realtime.messages ask who may listen' as fix,
  s.signature as fingerprint
from sender s join pg_proc f on f.oid = s.function
join own_table t on f.prosrc ~ ('(\m' || regexp_replace(t.schema, '\W', '.', 'g') || '"?\s*\.\s*"?' || regexp_replace(t.name, '\W', '.', 'g') || '\M)')
where not s.is_trigger
  and f.prosrc ~* 'realtime\s*\.\s*"?send"?\s*\(([^;]*,\s*|[^;]*private\s*(=>|:=)\s*)false\s*\)'
  and t.rls and exists (select from policy p where p.relid = t.relid and p.policy in (select policy from personal))
  and exists (select from api a where has_function_privilege(a.role, f.oid, 'execute'))
group by s.function, s.signature

-- RLS011: A policy trusts user_metadata
-- Every user can write their own user_metadata (raw_user_meta_data): a tenant or role taken from there is whatever they like.
-- app_metadata is written by the server only.
select
  'RLS011' as code, 'error' as level, format('policy %I on %s', p.name, p.fqn) as object,
  format('The policy %I on %s trusts user_metadata, which every user can write themselves.', p.name, p.fqn) as detail,
  format('alter policy %I on %s%s%s;', p.name, p.fqn,
    ' using (' || replace(replace(p.qual, 'user_metadata', 'app_metadata'), 'raw_user_meta_data', 'raw_app_meta_data') || ')',
    ' with check (' || replace(replace(p.wcheck, 'user_metadata', 'app_metadata'), 'raw_user_meta_data', 'raw_app_meta_data') || ')')
    as fix,
  p.fqn || ' ' || p.name as fingerprint
from policy p
where coalesce(p.qual, '') || coalesce(p.wcheck, '') ~ 'user_metadata|raw_user_meta_data'
  or exists (select from policy_function f where f.policy = p.policy and f.schema <> 'auth' and f.body ~ 'user_metadata|raw_user_meta_data')

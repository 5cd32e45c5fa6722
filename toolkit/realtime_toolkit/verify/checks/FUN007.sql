-- FUN007: A SECURITY DEFINER function trusts user_metadata
-- Every user can write their own user_metadata (raw_user_meta_data): a role, a tenant or a plan that is taken from there is
-- whatever they like, and the function does for them what it does for those who have it. app_metadata is written by the server only.
select
  'FUN007' as code, 'error' as level, 'function ' || r.signature as object,
  format('%s can do what the function %s, which is SECURITY DEFINER, does for others: it takes %s from user_metadata, which every user can write.',
    string_agg(distinct c.role_name, ' and '), r.signature, string_agg(distinct quote_literal(m[2]), ', ')) as detail,
  format('-- take it from (select auth.jwt() -> ''app_metadata'' ->> %L) in the body of %s', min(m[2]), r.signature) as fix,
  r.signature as fingerprint
from routine r
join callable c using (function)
cross join lateral regexp_matches(r.source,
  '(user_metadata|raw_user_meta_data)\M[''"]?\s*\)*\s*->>?\s*''(\w*(role|admin|staff|moderator|tenant|org|team|company|plan|tier|permission|level|group)\w*)''', 'gi') as m
where r.definer
  and not exists (select from policy_function f where f.function = r.function)  -- RLS011 has said it of those that policies call
group by r.function, r.signature

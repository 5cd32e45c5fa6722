-- RLS007: A policy depends on a setting that Realtime does not set
-- Realtime evaluates the policies of a published table with role and request.jwt.claims set, nothing else (those of
-- realtime.messages also with realtime.topic, request.headers, request.jwt.claim.sub and .role). A setting of the
-- application's own, or request.headers, is empty there (the policy is silently false) or raises 42704 if asked without
-- missing_ok, and then the whole poll batch is lost.
with asked as (
  select p.policy, m[1] as setting, null::text as via
  from policy p, regexp_matches(coalesce(p.qual, '') || ' ' || coalesce(p.wcheck, ''), 'current_setting\(''([^'']+)''', 'g') as m
  union
  select f.policy, m[1], format('%s.%I()', f.schema, f.name)
  from policy_function f, regexp_matches(coalesce(f.body, ''), 'current_setting\s*\(\s*''([^'']+)''', 'gi') as m
  where f.schema <> 'auth'
)
select
  'RLS007' as code, 'error' as level, format('policy %I on %s', p.name, p.fqn) as object,
  format('The policy %I on %s depends on the setting %s%s, which Realtime does not set: under a subscription it is empty or raises.',
    p.name, p.fqn, string_agg(distinct quote_literal(a.setting), ', '),
    coalesce(' (through ' || string_agg(distinct a.via, ', ') || ')', '')) as detail,
  format('-- take it from the token instead: (select auth.jwt() -> ''app_metadata'' ->> %L)',
    regexp_replace(min(a.setting), '^.*\.', '')) as fix,
  p.fqn || ' ' || p.name as fingerprint
from asked a join policy p using (policy) join published t on t.relid = p.relid
where a.setting not in ('role', 'request.jwt.claims')
  and p.cmd in ('r', '*')
  -- Beside one that is always true the planner leaves it out.
  and exists (select from policy_role r where r.policy = p.policy and not (p.permissive and (p.relid, r.role) in (select relid, role from open_read)))
group by p.policy, p.name, p.fqn
union all
select
  'RLS007', 'error', format('policy %I on realtime.messages', c.name),
  format('The policy %I on realtime.messages depends on the setting %s, which Realtime does not set when it authorizes a channel: '
    'it is empty or raises.', c.name, string_agg(distinct quote_literal(m[1]), ', ')),
  format('-- take it from the token instead: (select auth.jwt() -> ''app_metadata'' ->> %L)', regexp_replace(min(m[1]), '^.*\.', '')),
  'realtime.messages ' || c.name
from channel_policy c, regexp_matches(coalesce(c.qual, '') || ' ' || coalesce(c.wcheck, ''), 'current_setting\(''([^'']+)''', 'g') as m
where m[1] not in ('role', 'request.jwt.claims', 'request.jwt.claim.sub', 'request.jwt.claim.role', 'request.headers', 'realtime.topic')
group by c.policy, c.name

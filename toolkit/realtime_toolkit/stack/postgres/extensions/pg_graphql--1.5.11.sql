-- pg_graphql's entry, without its engine: every query is answered with an error that says so.

do $schema$
begin
  if to_regnamespace('graphql') is null then
    create schema graphql;
  end if;
end
$schema$;

create function graphql.resolve(
  query text, variables jsonb default '{}', "operationName" text default null, extensions jsonb default null
) returns jsonb language plpgsql as $$
begin
  return jsonb_build_object('data', null, 'errors', jsonb_build_array(jsonb_build_object(
    'message', 'pg_graphql is a stand-in of the local stack: no query is answered')));
end
$$;
grant usage on schema graphql to postgres, anon, authenticated, service_role;
grant execute on function graphql.resolve(text, jsonb, text, jsonb) to postgres, anon, authenticated, service_role;

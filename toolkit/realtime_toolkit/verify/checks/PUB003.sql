-- PUB003: The publication is for all tables
-- Every table, also the next one somebody makes, is then published before anyone has thought about its policies
-- and its replica identity; and a table without a primary key refuses UPDATE and DELETE from that moment on.
select
  'PUB003' as code, 'error' as level, 'publication supabase_realtime' as object,
  case when puballtables
    then 'The publication is FOR ALL TABLES: every table there is and will be is published to subscribers.'
    else format('The publication is FOR TABLES IN SCHEMA %s: every table made there is published to subscribers.', names)
  end as detail,
  case when puballtables
    then 'drop publication supabase_realtime; create publication supabase_realtime;'
    else format('alter publication supabase_realtime drop tables in schema %s;', names)
  end || coalesce(' alter publication supabase_realtime add table ' || (select string_agg(fqn, ', ' order by fqn) from published
    where rls) || ';', '') as fix,
  coalesce(names, 'all tables') as fingerprint
from publication
cross join lateral (
  select string_agg(quote_ident(nspname), ', ' order by nspname) as names
  from pg_publication_namespace n join pg_namespace s on s.oid = n.pnnspid
  where n.pnpubid = publication.oid
) as schemas
where puballtables or names is not null

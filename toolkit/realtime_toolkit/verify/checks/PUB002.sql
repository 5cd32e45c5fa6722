-- PUB002: The publication leaves out inserts, updates or deletes
-- Realtime applies the publication's publish flags: a kind of change that is not in them reaches nobody.
-- (Truncate may be missing: Realtime sends nothing for it.)
select
  'PUB002' as code, 'error' as level, 'publication supabase_realtime' as object,
  format('The publication does not publish %s: subscribers never hear of these changes, and no error says so.',
    array_to_string(missing, ', ')) as detail,
  'alter publication supabase_realtime set (publish = ''insert, update, delete, truncate'');' as fix,
  array_to_string(missing, ',') as fingerprint
from publication, lateral (
  select array_remove(array[
    case when not pubinsert then 'insert' end,
    case when not pubupdate then 'update' end,
    case when not pubdelete then 'delete' end], null) as missing
) as flags
where missing <> '{}'

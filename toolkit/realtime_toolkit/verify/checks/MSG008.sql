-- MSG008: A SECURITY DEFINER function that broadcasts has a mutable search_path
-- Whoever calls it, or causes its trigger, chooses with their own search_path which functions it runs with its owner's rights.
select
  'MSG008' as code, 'error' as level, format('function %s', signature) as object,
  format('The function %s is SECURITY DEFINER, calls realtime.send or realtime.broadcast_changes, and has a mutable search_path.',
    signature) as detail,
  format('alter routine %s set search_path = '''';', signature) as fix,
  signature as fingerprint
from sender where definer and not exists (select from unnest(config) c where c ~ '^search_path=')

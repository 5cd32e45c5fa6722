-- PUB001: The publication supabase_realtime is missing
-- Realtime reads this publication and no other: without it nothing is ever delivered, and joins still answer ok.
select
  'PUB001' as code, 'error' as level, 'publication supabase_realtime' as object,
  'The publication supabase_realtime does not exist: Realtime delivers no change of any table.' as detail,
  'create publication supabase_realtime;' as fix,
  'supabase_realtime' as fingerprint
where not exists (select from publication)

-- PUB016: A wide column in a published table
-- A value that is stored out of line (TOAST) and did not change is missing from an UPDATE, and a record above 1 MiB arrives
-- with "Error 413: Payload Too Large" and without its large values. Judged are types that are made for bulk, columns whose
-- storage somebody has changed, and texts and JSON that by their name hold documents; not those whose length a CHECK bounds,
-- and not tracked tables, whose listener fetches what is missing.
select
  'PUB016' as code, 'warning' as level, t.fqn || '.' || quote_ident(c.name) as object,
  format('%s.%s (%s) can be wide: %sa record above 1 MiB arrives as "Error 413: Payload Too Large".', t.fqn, quote_ident(c.name),
    format_type(c.type, c.typmod),
    case when t.replident <> 'f' then 'an unchanged TOASTed value is missing from the record of an UPDATE, and ' else '' end) as detail,
  format('-- move %2$I to a table that is not published, or bound it: alter table %1$s add check (octet_length(%2$I%3$s) <= 100000);',
    t.fqn, c.name, case when c.base_type in ('bytea', 'text', 'character varying') then '' else '::text' end) as fix,
  t.fqn || '.' || c.name as fingerprint
from published t join own_column c using (relid)
where t.relid not in (select relid from tracked)
  and (
    c.base_type in ('xml', 'vector', 'extensions.vector', 'public.vector', 'halfvec', 'extensions.halfvec', 'oid[]')
    -- Not the few bytes of a hash, a key or an address.
    or (c.base_type = 'bytea' and c.name !~* '(^|_)(hash|digest|sha\d*|md5|checksum|hmac|mac|salt|nonce|iv|tag|token|secret|key|signature|sig|fingerprint|uuid|id|ip|addr(ess)?|pin|code|version|bits?|flags|color)s?\d*$|(hash|token|key|salt|secret)$')
    or (t.replident <> 'f' and c.base_type = 'tsvector')
    or c.storage = 'e' and (select y.typstorage from pg_type y where y.oid = c.type) <> 'e'
    -- A picture or a file as text is its address, unless the name says that it is its content.
    or (t.replident <> 'f' and (c.base_type in ('text', 'json', 'jsonb') or c.base_type ~ '\[\]$') and c.name ~*
      '(^|_)(html|document|blob|base64|snapshot|transcript|embeddings?|waveform|samples|dump|full_?text|source_code|binary|bytes)($|_(data|content|body|bytes|text|json|html|base64|blob)$)|(^|_)(raw|attachments?|image|photo|picture|file|pdf|scan|thumbnail)_(data|content|body|bytes|text|json|html|base64|blob)$')
    -- As JSON it is the thing itself.
    or (t.replident <> 'f' and c.base_type in ('json', 'jsonb') and c.name ~* '(^|_)(raw|attachments?|file|pdf|scan)$')
  )
  and not exists (
    select from pg_constraint k
    where k.conrelid = t.relid and k.contype = 'c' and c.attnum = any (k.conkey)
      and pg_get_constraintdef(k.oid) ~ '(octet_length|char_length|length|pg_column_size|vector_dims)\('
  )

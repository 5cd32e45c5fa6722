-- pg_jsonschema: JSON Schema (2020-12) as CHECK constraints use it, in PL/pgSQL. A keyword of the standard that it cannot
-- judge is an error, never a pass; others and formats are annotations, as the standard says. Facts: json-schema.org.

-- Where a JSON value breaks a schema: a line each, with the path into the value. root holds what $ref points into.
create function _jsonschema_errors(root jsonb, schema jsonb, instance jsonb, path text) returns text[]
  language plpgsql immutable set search_path from current as $$
declare
  kind text := jsonb_typeof(instance);
  found text[] := '{}';
  keyword text;
  rule jsonb;
  item record;
  hits int;
begin
  if schema = 'true' then
    return found;
  elsif schema = 'false' then
    return array[path || ': nothing is allowed here'];
  elsif jsonb_typeof(schema) <> 'object' then
    raise invalid_parameter_value using message = format('not a JSON schema: %s', schema);
  end if;
  for keyword, rule in select * from jsonb_each(schema) loop
    case keyword
      when '$ref' then
        if rule #>> '{}' !~ '^#(/|$)' then
          raise feature_not_supported using message =
            format('pg_jsonschema is a stand-in of the local stack: it does not follow "$ref": %s', rule);
        end if;
        found := found || _jsonschema_errors(root,
          root #> array(select replace(replace(step, '~1', '/'), '~0', '~') from regexp_split_to_table(substr(rule #>> '{}', 3), '/') step where step <> ''),
          instance, path);
      when 'type' then
        if not exists (
          select from jsonb_array_elements_text(case jsonb_typeof(rule) when 'array' then rule else jsonb_build_array(rule) end) t
          where t = kind or t = 'integer' and kind = 'number' and (instance #>> '{}')::numeric % 1 = 0
        ) then
          found := found || format('%s: %s is not of type %s', path, instance, rule);
        end if;
      when 'enum' then
        if not exists (select from jsonb_array_elements(rule) e where e = instance) then
          found := found || format('%s: %s is not one of %s', path, instance, rule);
        end if;
      when 'const' then
        if rule <> instance then
          found := found || format('%s: %s is not %s', path, instance, rule);
        end if;
      when 'minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf' then
        if kind = 'number' and not (case keyword
          when 'minimum' then (instance #>> '{}')::numeric >= (rule #>> '{}')::numeric
          when 'maximum' then (instance #>> '{}')::numeric <= (rule #>> '{}')::numeric
          when 'exclusiveMinimum' then (instance #>> '{}')::numeric > (rule #>> '{}')::numeric
          when 'exclusiveMaximum' then (instance #>> '{}')::numeric < (rule #>> '{}')::numeric
          else (instance #>> '{}')::numeric % (rule #>> '{}')::numeric = 0 end)
        then
          found := found || format('%s: %s breaks %s %s', path, instance, keyword, rule);
        end if;
      when 'minLength', 'maxLength', 'pattern' then
        if kind = 'string' and not (case keyword
          when 'minLength' then length(instance #>> '{}') >= (rule #>> '{}')::numeric
          when 'maxLength' then length(instance #>> '{}') <= (rule #>> '{}')::numeric
          else instance #>> '{}' ~ (rule #>> '{}') end)
        then
          found := found || format('%s: %s breaks %s %s', path, instance, keyword, rule);
        end if;
      when 'minItems', 'maxItems', 'uniqueItems' then
        if kind = 'array' and not (case keyword
          when 'minItems' then jsonb_array_length(instance) >= (rule #>> '{}')::numeric
          when 'maxItems' then jsonb_array_length(instance) <= (rule #>> '{}')::numeric
          else rule = 'false' or (select count(*) = count(distinct e) from jsonb_array_elements(instance) e) end)
        then
          found := found || format('%s: %s breaks %s %s', path, instance, keyword, rule);
        end if;
      when 'prefixItems', 'items' then
        if kind = 'array' then
          for item in select e, nr - 1 as nr from jsonb_array_elements(instance) with ordinality as t (e, nr) loop
            if jsonb_typeof(rule) = 'array' then  -- the items of earlier drafts, too
              found := found || coalesce(_jsonschema_errors(root, rule -> item.nr::int, item.e, path || '/' || item.nr), '{}');
            elsif item.nr >= coalesce(jsonb_array_length(schema -> 'prefixItems'), 0) then
              found := found || _jsonschema_errors(root, rule, item.e, path || '/' || item.nr);
            end if;
          end loop;
        end if;
      when 'contains' then
        if kind = 'array' then
          select count(*) into hits from jsonb_array_elements(instance) e
          where _jsonschema_errors(root, rule, e, path) = '{}';
          if hits < coalesce((schema ->> 'minContains')::numeric, 1) or hits > (schema ->> 'maxContains')::numeric then
            found := found || format('%s: %s of its items fit "contains"', path, hits);
          end if;
        end if;
      when 'required', 'minProperties', 'maxProperties' then
        if kind = 'object' and not (case keyword
          when 'required' then instance ?& array(select jsonb_array_elements_text(rule))
          when 'minProperties' then (select count(*) from jsonb_object_keys(instance)) >= (rule #>> '{}')::numeric
          else (select count(*) from jsonb_object_keys(instance)) <= (rule #>> '{}')::numeric end)
        then
          found := found || format('%s: %s breaks %s %s', path, instance, keyword, rule);
        end if;
      when 'dependentRequired' then
        if kind = 'object' and exists (
          select from jsonb_each(rule) d
          where instance ? d.key and not instance ?& array(select jsonb_array_elements_text(d.value))
        ) then
          found := found || format('%s: %s breaks %s %s', path, instance, keyword, rule);
        end if;
      when 'properties', 'patternProperties', 'propertyNames', 'additionalProperties' then
        if kind = 'object' then
          for item in select * from jsonb_each(instance) loop
            case keyword
              when 'properties' then
                found := found || coalesce(_jsonschema_errors(root, rule -> item.key, item.value, path || '/' || item.key), '{}');
              when 'propertyNames' then
                found := found || _jsonschema_errors(root, rule, to_jsonb(item.key), path || '/' || item.key);
              when 'patternProperties' then
                select found || coalesce(array_agg(e), '{}') into found from jsonb_each(rule) p,
                  unnest(_jsonschema_errors(root, p.value, item.value, path || '/' || item.key)) e where item.key ~ p.key;
              else
                if not coalesce(schema -> 'properties', '{}') ? item.key and not exists (
                  select from jsonb_object_keys(coalesce(schema -> 'patternProperties', '{}')) p where item.key ~ p
                ) then
                  found := found || _jsonschema_errors(root, rule, item.value, path || '/' || item.key);
                end if;
            end case;
          end loop;
        end if;
      when 'allOf' then
        select found || coalesce(array_agg(e), '{}') into found
        from jsonb_array_elements(rule) s, unnest(_jsonschema_errors(root, s, instance, path)) e;
      when 'anyOf', 'oneOf', 'not' then
        select count(*) into hits
        from jsonb_array_elements(case keyword when 'not' then jsonb_build_array(rule) else rule end) s
        where _jsonschema_errors(root, s, instance, path) = '{}';
        if not (case keyword when 'anyOf' then hits >= 1 when 'oneOf' then hits = 1 else hits = 0 end) then
          found := found || format('%s: %s breaks %s', path, instance, keyword);
        end if;
      when 'if' then
        rule := case when _jsonschema_errors(root, rule, instance, path) = '{}' then schema -> 'then' else schema -> 'else' end;
        found := found || coalesce(_jsonschema_errors(root, rule, instance, path), '{}');
      when '$dynamicRef', '$recursiveRef', 'unevaluatedItems', 'unevaluatedProperties', 'additionalItems', 'dependencies',
        'dependentSchemas' then
        raise feature_not_supported using message =
          format('pg_jsonschema is a stand-in of the local stack: it cannot judge the keyword "%s"', keyword);
      else
        null;  -- an annotation, or judged with another keyword
    end case;
  end loop;
  return found;
end
$$;

create function jsonschema_validation_errors(schema json, instance json) returns text[]
  language sql immutable strict set search_path from current as $$
  select _jsonschema_errors(schema::jsonb, schema::jsonb, instance::jsonb, '')
$$;
create function jsonb_matches_schema(schema json, instance jsonb) returns boolean
  language sql immutable strict set search_path from current as $$
  select _jsonschema_errors(schema::jsonb, schema::jsonb, instance, '') = '{}'
$$;
create function json_matches_schema(schema json, instance json) returns boolean
  language sql immutable strict set search_path from current as $$
  select _jsonschema_errors(schema::jsonb, schema::jsonb, instance::jsonb, '') = '{}'
$$;
-- Whether it can be read as a schema at all.
create function jsonschema_is_valid(schema json) returns boolean
  language plpgsql immutable strict set search_path from current as $$
begin
  perform _jsonschema_errors(schema::jsonb, schema::jsonb, 'null', '');
  return true;
exception when feature_not_supported then
  raise;
when others then
  return false;
end
$$;

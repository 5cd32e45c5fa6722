-- pgsql-http's names: a request is an error, for there is no answer to give. Facts: the README of pramsey/pgsql-http.

create domain http_method as text;
create domain content_type as text check (value ~ '^\S+\/\S+');
create type http_header as (field varchar, value varchar);
create type http_response as (status integer, content_type varchar, headers http_header[], content varchar);
create type http_request as (
  method http_method, uri varchar, headers http_header[], content_type varchar, content varchar);

create function http(request http_request) returns http_response language plpgsql as $$
begin
  raise feature_not_supported using
    message = format('http is a stand-in of the local stack: the %s request to %s is not sent', request.method, request.uri),
    hint = 'stack up --postgres container|URL uses a Postgres that has the extension.';
end
$$;
create function http_get(uri varchar) returns http_response language sql set search_path from current as $$
  select http(('GET', $1, null, null, null)::http_request)
$$;
create function http_get(uri varchar, data jsonb) returns http_response language sql set search_path from current as $$
  select http(('GET', $1, null, null, null)::http_request)
$$;
create function http_head(uri varchar) returns http_response language sql set search_path from current as $$
  select http(('HEAD', $1, null, null, null)::http_request)
$$;
create function http_post(uri varchar, content varchar, content_type varchar) returns http_response
  language sql set search_path from current as $$
  select http(('POST', $1, null, $3, $2)::http_request)
$$;
create function http_post(uri varchar, data jsonb) returns http_response language sql set search_path from current as $$
  select http(('POST', $1, null, 'application/x-www-form-urlencoded', $2::text)::http_request)
$$;
create function http_put(uri varchar, content varchar, content_type varchar) returns http_response
  language sql set search_path from current as $$
  select http(('PUT', $1, null, $3, $2)::http_request)
$$;
create function http_patch(uri varchar, content varchar, content_type varchar) returns http_response
  language sql set search_path from current as $$
  select http(('PATCH', $1, null, $3, $2)::http_request)
$$;
create function http_delete(uri varchar) returns http_response language sql set search_path from current as $$
  select http(('DELETE', $1, null, null, null)::http_request)
$$;
create function http_delete(uri varchar, content varchar, content_type varchar) returns http_response
  language sql set search_path from current as $$
  select http(('DELETE', $1, null, $3, $2)::http_request)
$$;

create function http_header(field varchar, value varchar) returns http_header language sql set search_path from current as $$
  select ($1, $2)::http_header
$$;
create function http_set_curlopt(curlopt varchar, value varchar) returns boolean language sql as $$ select true $$;
create function http_reset_curlopt() returns boolean language sql as $$ select true $$;
create function http_list_curlopt() returns table (curlopt text, value text) language sql as $$
  select null::text, null::text where false
$$;
create function text_to_bytea(data text) returns bytea language sql immutable strict as $$ select convert_to(data, 'UTF8') $$;
create function bytea_to_text(data bytea) returns text language sql immutable strict as $$ select convert_from(data, 'UTF8') $$;

-- Percent-encoding of the UTF-8 bytes, as curl does it.
create function urlencode(string bytea) returns text language sql immutable strict as $$
  select coalesce(string_agg(
    case when chr(byte) ~ '[A-Za-z0-9_.~-]' and byte < 128 then chr(byte) else '%' || upper(lpad(to_hex(byte), 2, '0')) end, ''
    order by nr), '')
  from (select nr, get_byte(string, nr) from generate_series(0, length(string) - 1) as nr) as b (nr, byte)
$$;
create function urlencode(string varchar) returns text language sql immutable strict set search_path from current as $$
  select urlencode(convert_to(string, 'UTF8'))
$$;
create function urlencode(data jsonb) returns text language sql immutable strict set search_path from current as $$
  select string_agg(urlencode(key::varchar) || '=' || urlencode(value::varchar), '&') from jsonb_each_text(data)
$$;

-- pgjwt: JSON Web Tokens signed with HMAC, over pgcrypto. Whole. Facts: the README of michelp/pgjwt; RFC 7515.
-- The path of `create extension`, this extension's schema and pgcrypto's, is pinned in each function.

create function url_encode(data bytea) returns text language sql immutable set search_path from current as $$
  select translate(encode(data, 'base64'), E'+/=\n', '-_')
$$;
create function url_decode(data text) returns bytea language sql immutable set search_path from current as $$
  select decode(rpad(translate(data, '-_', '+/'), (length(data) + 3) / 4 * 4, '='), 'base64')
$$;

create function algorithm_sign(signables text, secret text, algorithm text) returns text
  language sql immutable set search_path from current as $$
  select url_encode(hmac(signables, secret,
    case algorithm when 'HS256' then 'sha256' when 'HS384' then 'sha384' when 'HS512' then 'sha512' else '' end))
$$;
create function sign(payload json, secret text, algorithm text default 'HS256') returns text
  language sql immutable set search_path from current as $$
  select signables || '.' || algorithm_sign(signables, secret, algorithm)
  from (select url_encode(convert_to(json_build_object('alg', algorithm, 'typ', 'JWT')::text, 'UTF8')) || '.'
    || url_encode(convert_to(payload::text, 'UTF8'))) as token (signables)
$$;

create function try_cast_double(inp text) returns double precision
  language plpgsql immutable set search_path from current as $$
begin
  return inp::double precision;
exception when others then
  return null;
end
$$;
-- valid: the signature is right, and now is neither before nbf nor at or after exp.
create function verify(token text, secret text, algorithm text default 'HS256')
  returns table (header json, payload json, valid boolean) language sql stable set search_path from current as $$
  select convert_from(url_decode(part[1]), 'UTF8')::json, claims,
    part[3] = algorithm_sign(part[1] || '.' || part[2], secret, algorithm)
      and tstzrange(to_timestamp(try_cast_double(claims ->> 'nbf')), to_timestamp(try_cast_double(claims ->> 'exp'))) @> now()
  from regexp_split_to_array(token, '\.') as part, lateral (select convert_from(url_decode(part[2]), 'UTF8')::json) as c (claims)
$$;

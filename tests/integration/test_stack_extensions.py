"""What Supabase preinstalls and offers: genuine where a package has it, else a stand-in that says what it does not do."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import bcrypt
import jwt
import psycopg
import pytest

from realtime_toolkit.stack import LocalStack
from tests.integration.test_stack_baseline import column, one

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs_stack("about the extensions that the stack's Postgres has")


@pytest.fixture(autouse=True)
def _stand_ins(request: pytest.FixtureRequest) -> None:
    """They are put into the stack's own installation; a container's and a given server's is theirs."""
    source = request.config.getoption("--supabase-postgres")
    if source and not str(source).isdigit() and source != "embedded":
        pytest.skip(f"Postgres is {source.partition(':')[0]}, in which nobody puts stand-ins for extensions")


@pytest.fixture
def db(stack: LocalStack) -> Iterator[psycopg.Connection[Any]]:
    """A transaction as ``postgres``, rolled back."""
    with psycopg.connect(stack.database_url) as connection:
        yield connection
        connection.rollback()


def test_what_is_preinstalled(db: psycopg.Connection[Any]) -> None:
    found = db.execute(
        "select extname::text, extnamespace::regnamespace::text from pg_extension where extname <> 'plpgsql' order by 1"
    ).fetchall()
    assert found == [
        ("pg_stat_statements", "extensions"),
        ("pgcrypto", "extensions"),
        ("supabase_vault", "vault"),
        ("uuid-ossp", "extensions"),
    ]


OFFERED = """
"uuid-ossp" with schema extensions; pgcrypto with schema extensions; pg_stat_statements; moddatetime schema extensions;
citext; pg_trgm with schema extensions; unaccent; ltree; hstore; btree_gin; btree_gist; fuzzystrmatch; tablefunc;
intarray; earthdistance cascade; dblink; postgres_fdw; pgjwt with schema extensions; pg_graphql with schema graphql;
pgmq with schema pgmq; supabase_vault with schema vault; pg_net with schema extensions; pg_cron with schema pg_catalog;
http with schema extensions; pgsodium; pg_jsonschema with schema extensions; hypopg; index_advisor cascade;
plpgsql_check; wrappers; pg_tle; pgaudit
"""


@pytest.mark.parametrize("extension", " ".join(OFFERED.split()).split("; "))
def test_what_supabase_offers_can_be_created(db: psycopg.Connection[Any], extension: str) -> None:
    db.execute(f"create extension if not exists {extension}".encode())


async def test_what_supabase_offers_needs_no_superuser_and_goes_away_whole() -> None:
    stand_ins = ("pg_cron", "pg_net", "pgmq", "pgjwt", "pg_graphql", "http", "pg_jsonschema")
    superuser = "select rolsuper from pg_roles where rolname = 'postgres'"
    async with LocalStack(superuser=False) as stack:
        with psycopg.connect(stack.database_url, autocommit=True) as db:
            for extension in (*stand_ins, "moddatetime", "citext", "dblink", "postgres_fdw"):
                for _ in range(2):
                    db.execute(f"create extension {extension} with schema extensions cascade".encode())
                    db.execute(f"drop extension {extension}".encode())
            with db.transaction():
                db.execute("do $$ begin create extension if not exists postgres_fdw; end $$")
                assert one(db, superuser) is False
            assert one(db, superuser) is False
            for other in ("file_fdw", "adminpack_moddatetime"):
                with pytest.raises(psycopg.Error, match=r"permission denied|not available"):
                    db.execute(f"create extension {other}".encode())


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("text", ["", "abc", "ß" * 200])
def test_digests(db: psycopg.Connection[Any], algorithm: str, text: str) -> None:
    found = db.execute(
        "select extensions.digest(%(text)s::text, %(name)s), extensions.hmac(%(text)s::text, 'key', %(name)s)",
        {"text": text, "name": algorithm},
    ).fetchone()
    data = text.encode()
    assert found == (hashlib.new(algorithm, data).digest(), hmac.digest(b"key", data, algorithm))


@pytest.mark.parametrize(
    ("password", "hashed"),
    [  # of the manual of PHP's crypt()
        ("rasmuslerdorf", "rl.3StKT.4T8M"),
        ("rasmuslerdorf", "_J9..rasmBYk8r9AiWNc"),
        ("rasmuslerdorf", "$1$rasmusle$rISCgZzpwk3UhDidwXvin0"),
    ],
)
def test_passwords(db: psycopg.Connection[Any], password: str, hashed: str) -> None:
    assert one(db, "select extensions.crypt(%s, %s)", password, hashed) == hashed


@pytest.mark.parametrize(("kind", "form"), [("bf", "$2a$06$"), ("md5", "$1$"), ("xdes", "_"), ("des", "")])
def test_salts(db: psycopg.Connection[Any], kind: str, form: str) -> None:
    salts = [one(db, "select extensions.gen_salt(%s)", kind) for _ in range(2)]
    assert salts[0] != salts[1]
    assert all(salt.startswith(form) for salt in salts)
    made = one(db, "select extensions.crypt('password', %s)", salts[0])
    assert one(db, "select extensions.crypt('password', %s)", made) == made
    assert one(db, "select extensions.crypt('other', %s)", made) != made
    assert kind != "bf" or bcrypt.checkpw(b"password", made.encode())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            "select cron.schedule('nightly', '0 3 * * *', 'select 1')",
            "job 'nightly' is recorded, and never run",
        ),
        ("select cron.schedule('30 seconds', 'select 1')", "is recorded, and never run"),
        ("select net.http_get('http://localhost')", "is recorded, and never sent"),
        ("select net.http_post('http://localhost', '{}')", "is recorded, and never sent"),
        ("select net.http_delete('http://localhost')", "is recorded, and never sent"),
        ("select net.http_collect_response(1)", "request 1 is never answered"),
        ("select vault.create_secret('s')", "the secret is stored, not encrypted"),
        ("select pgmq.create_partitioned('q')", "queue q is made without partitions"),
        ("create extension wrappers", "there is no foreign data wrapper in it"),
        ("create extension pgaudit", "nothing is audited"),
        ("create extension pgsodium; select pgsodium.create_key()", "nothing can be encrypted with this key"),
    ],
)
def test_a_stand_in_says_so(db: psycopg.Connection[Any], call: str, says: str) -> None:
    said: list[str] = []
    db.add_notice_handler(lambda notice: said.append(str(notice.message_primary)))
    db.execute(call.encode())
    assert len(said) == 1
    assert " is a stand-in of the local stack: " in said[0]
    assert says in said[0]


@pytest.mark.parametrize(
    ("extension", "call"),
    [
        ("http", "select http_get('http://localhost')"),
        ("http", "select http_post('http://localhost', '{}', 'application/json')"),
        ("hypopg", "select * from hypopg_create_index('create index on t (x)')"),
        ("plpgsql_check", "select * from plpgsql_check_function('now()'::regprocedure)"),
        ("pg_tle", "select pgtle.install_extension('x', '1', '', '')"),
        ("pgsodium", "select pgsodium.crypto_aead_det_encrypt('', '', gen_random_uuid())"),
    ],
)
def test_what_a_stand_in_cannot_do_is_an_error(
    db: psycopg.Connection[Any], extension: str, call: str
) -> None:
    db.execute(f"create extension {extension}".encode())
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="is a stand-in of the local stack"):
        db.execute(call.encode())


def test_graphql_says_that_it_does_not_answer(db: psycopg.Connection[Any]) -> None:
    answer = "select graphql_public.graphql(query => '{ __typename }') #>> '{errors,0,message}'"
    assert one(db, answer) == "pg_graphql extension is not enabled."
    db.execute("create extension pg_graphql")
    db.execute("set local role anon")
    assert one(db, answer) == "pg_graphql is a stand-in of the local stack: no query is answered"


def test_jobs(db: psycopg.Connection[Any]) -> None:
    first = one(db, "select cron.schedule('nightly', '0 3 * * *', 'select 1')")
    assert one(db, "select cron.schedule('nightly', '0 4 * * 1-5', 'select 2')") == first
    assert db.execute("select schedule, command, username, active from cron.job").fetchall() == [
        ("0 4 * * 1-5", "select 2", "postgres", True)
    ]
    db.execute("select cron.alter_job(%s, active => false)", [first])
    assert one(db, "select active from cron.job") is False
    assert one(db, "select cron.unschedule('nightly')") is True
    for wrong, error in (
        ("select cron.unschedule('nightly')", "could not find valid entry"),
        ("select cron.schedule('every day', 'select 1')", "invalid schedule: every day"),
        ("select cron.schedule('61 seconds', 'select 1')", "invalid schedule"),
    ):
        with pytest.raises(psycopg.Error, match=error), db.transaction():
            db.execute(wrong.encode())


def test_what_was_recorded_before_the_extension_is_created_stays(db: psycopg.Connection[Any]) -> None:
    db.execute(
        "select cron.schedule('nightly', '0 3 * * *', 'select 1'), net.http_get('http://localhost'), pgmq.create('q')"
    )
    db.execute("select pgmq.send('q', '{\"a\": 1}')")
    db.execute("create extension pg_cron; create extension pg_net; create extension pgmq")
    assert column(db, "select jobname from cron.job") == ["nightly"]
    assert column(db, "select url from net.http_request_queue") == ["http://localhost"]
    assert column(db, "select message from pgmq.pop('q')") == [{"a": 1}]
    assert one(db, "select pgmq.drop_queue('q')") is True
    db.execute("drop extension pg_cron; drop extension pg_net; drop extension pgmq")
    assert one(db, "select to_regclass('cron.job')") is None
    db.execute("create extension pg_cron")
    assert column(db, "select jobname from cron.job") == []


def test_a_queue(db: psycopg.Connection[Any]) -> None:
    db.execute("select pgmq.create('Jobs')")
    assert column(
        db, "select * from pgmq.send_batch('Jobs', array['{\"n\": 1}', '{\"n\": 2}', '{\"n\": 3}']::jsonb[])"
    ) == [1, 2, 3]
    assert one(db, "select pgmq.send('Jobs', '{}', 60)") == 4
    read = db.execute("select msg_id, read_ct, message from pgmq.read('Jobs', 30, 2)").fetchall()
    assert read == [(1, 1, {"n": 1}), (2, 1, {"n": 2})]
    assert column(db, "select msg_id from pgmq.read('Jobs', 30, 5)") == [3]
    assert column(db, "select msg_id from pgmq.read_with_poll('Jobs', 30, 5, 0)") == []
    assert one(db, "select pgmq.archive('Jobs', 1)") is True
    assert one(db, "select pgmq.delete('Jobs', 2)") is True
    assert one(db, "select pgmq.delete('Jobs', 2)") is False
    db.execute("select pgmq.set_vt('Jobs', 3, 0)")
    assert column(db, "select msg_id from pgmq.pop('Jobs')") == [3]
    assert column(db, "select msg_id from pgmq.a_jobs") == [1]
    counted = db.execute(
        "select queue_length, total_messages, queue_visible_length from pgmq.metrics('Jobs')"
    ).fetchone()
    assert counted == (1, 4, 0)
    assert column(db, "select queue_name from pgmq.list_queues()") == ["Jobs"]
    assert one(db, "select pgmq.purge_queue('Jobs')") == 1
    assert one(db, "select pgmq.drop_queue('Jobs')") is True


def test_secrets(db: psycopg.Connection[Any]) -> None:
    made = one(db, "select vault.create_secret('sésame', 'door', 'opens it')")
    assert db.execute("select name, decrypted_secret from vault.decrypted_secrets").fetchall() == [
        ("door", "sésame")
    ]
    assert one(db, "select secret from vault.secrets") != "sésame"
    db.execute("select vault.update_secret(%s, new_secret => 'other')", [made])
    assert column(
        db, "select decrypted_secret from vault.decrypted_secrets where description = 'opens it'"
    ) == ["other"]
    db.execute("set local role service_role")
    assert len(column(db, "select decrypted_secret from vault.decrypted_secrets")) == 1
    db.execute("set local role authenticated")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute("select * from vault.decrypted_secrets")


def test_json_web_tokens(db: psycopg.Connection[Any]) -> None:
    db.execute("create extension pgjwt with schema extensions")
    example = (  # of jwt.io
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ."
        "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
    )
    verified = "select payload ->> 'name', valid from extensions.verify(%s, %s)"
    assert db.execute(verified, [example, "your-256-bit-secret"]).fetchone() == ("John Doe", True)
    assert db.execute(verified, [example, "another secret"]).fetchone() == ("John Doe", False)
    secret = "s" * 64
    for algorithm in ("HS256", "HS384", "HS512"):
        for claims, valid in (
            ("{}", True),
            ('{"exp": 1}', False),
            ('{"exp": 4102444800}', True),
            ('{"nbf": 4102444800}', False),
        ):
            token = one(db, "select extensions.sign(%s, %s, %s)", claims, secret, algorithm)
            assert (
                one(db, "select valid from extensions.verify(%s, %s, %s)", token, secret, algorithm) is valid
            )
            if valid:
                assert jwt.decode(token, secret, algorithms=[algorithm]) == json.loads(claims)
    assert column(db, "select extensions.try_cast_double(t) from unnest(array['1.5', 'x', null]) t") == [
        1.5,
        None,
        None,
    ]


SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": 1, "exclusiveMaximum": 10, "multipleOf": 2},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}, "minItems": 1, "uniqueItems": True},
        "kind": {"enum": ["a", "b"]},
        "either": {"oneOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
    },
    "patternProperties": {"^x_": {"type": "boolean"}},
    "required": ["n"],
    "additionalProperties": False,
    "if": {"properties": {"kind": {"const": "b"}}, "required": ["kind"]},
    "then": {"required": ["tags"]},
    "$defs": {"tag": {"type": "string", "pattern": "^[a-z]+$"}},
    "errorMessage": "an annotation",
}


@pytest.mark.parametrize(
    ("value", "fits"),
    [
        ({"n": 2}, True),
        ({"n": 2.0}, True),
        ({"n": 2, "tags": ["a", "b"], "kind": "b", "either": None, "x_y": True}, True),
        ({"n": 2, "either": "abc"}, True),
        ({}, False),
        ([], False),
        ({"n": 0}, False),
        ({"n": 10}, False),
        ({"n": 3}, False),
        ({"n": 2.5}, False),
        ({"n": "2"}, False),
        ({"n": 2, "tags": []}, False),
        ({"n": 2, "tags": ["a", "a"]}, False),
        ({"n": 2, "tags": ["A"]}, False),
        ({"n": 2, "kind": "c"}, False),
        ({"n": 2, "kind": "b"}, False),
        ({"n": 2, "either": "abcd"}, False),
        ({"n": 2, "x_y": 1}, False),
        ({"n": 2, "other": 1}, False),
    ],
)
def test_json_schemas(db: psycopg.Connection[Any], value: Any, fits: bool) -> None:
    db.execute("create extension pg_jsonschema with schema extensions")
    arguments = (json.dumps(SCHEMA), json.dumps(value))
    assert one(db, "select extensions.jsonb_matches_schema(%s, %s)", *arguments) is fits
    assert one(db, "select extensions.json_matches_schema(%s, %s)", *arguments) is fits
    assert (one(db, "select extensions.jsonschema_validation_errors(%s, %s)", *arguments) == []) is fits


def test_a_json_schema_that_cannot_be_judged_is_no_pass(db: psycopg.Connection[Any]) -> None:
    db.execute("create extension pg_jsonschema with schema extensions")
    for keyword in ('{"$ref": "https://example.com/s.json"}', '{"unevaluatedProperties": false}'):
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="stand-in"), db.transaction():
            db.execute("select jsonb_matches_schema(%s, '{}')", [keyword])

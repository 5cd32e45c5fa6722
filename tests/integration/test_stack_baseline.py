"""What a project has before its first migration: roles, schemas, tables, who may do what, and how the functions answer.

The facts are those of hosted projects of 2026: ``nix/tests/expected`` of supabase/postgres (roles, memberships, vault), a
dump of a project on Postgres 17.6 (schemas, tables, functions, grants), and ``FACTS.md`` beside the recordings.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from realtime_toolkit.stack import LocalStack
from realtime_toolkit.stack.postgres.template import apply_baseline

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs_stack("about the baseline that the stack makes")

API = ("anon", "authenticated", "service_role")


@pytest.fixture
def db(stack: LocalStack) -> Iterator[psycopg.Connection[Any]]:
    """A transaction as ``postgres``, rolled back."""
    with psycopg.connect(stack.database_url) as connection:
        yield connection
        connection.rollback()


def one(db: psycopg.Connection[Any], query: str, *parameters: Any) -> Any:
    row = db.execute(query.encode(), parameters or None).fetchone()
    assert row is not None
    return row[0]


def column(db: psycopg.Connection[Any], query: str) -> list[Any]:
    return [value for (value,) in db.execute(query.encode())]


# --- roles ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "attributes"),
    [
        ("anon", "inherit"),
        ("authenticated", "inherit"),
        ("service_role", "inherit bypassrls"),
        ("authenticator", "login"),
        ("supabase_admin", "login superuser inherit createrole createdb replication bypassrls"),
        ("supabase_auth_admin", "login createrole"),
        ("supabase_storage_admin", "login createrole"),
        ("supabase_functions_admin", "login createrole"),
        ("supabase_realtime_admin", "login createrole replication"),
        ("supabase_replication_admin", "login inherit replication"),
        ("supabase_etl_admin", "login inherit replication"),
        ("supabase_read_only_user", "login inherit bypassrls"),
        ("pgbouncer", "login inherit"),
        ("dashboard_user", "inherit createrole createdb replication"),
    ],
)
def test_roles(db: psycopg.Connection[Any], role: str, attributes: str) -> None:
    found = db.execute(
        "select rolcanlogin, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
        " from pg_roles where rolname = %s",
        [role],
    ).fetchone()
    names = ("login", "superuser", "inherit", "createrole", "createdb", "replication", "bypassrls")
    assert found is not None
    assert " ".join(name for name, has in zip(names, found, strict=True) if has) == attributes


def test_memberships(db: psycopg.Connection[Any]) -> None:
    granted = db.execute(
        "select member::regrole::text, roleid::regrole::text, bool_or(admin_option) from pg_auth_members"
        " where member <> 'pg_monitor'::regrole group by 1, 2 order by 1, 2"
    ).fetchall()
    has = db.execute("select to_regrole('pg_create_subscription') is not null").fetchone()
    assert has is not None
    # Postgres 16 has that role, and lets a role inherit through one grant and not through another.
    new = [("postgres", "pg_create_subscription", False)] if has[0] else []
    granted = [each for each in granted if has[0] or each[0] != "supabase_storage_admin"]
    storage = [("supabase_storage_admin", "authenticator", False)] if has[0] else []
    assert granted == [
        ("authenticator", "anon", False),
        ("authenticator", "authenticated", False),
        ("authenticator", "service_role", False),
        ("postgres", "anon", True),
        ("postgres", "authenticated", True),
        ("postgres", "authenticator", True),
        *new,
        ("postgres", "pg_monitor", True),
        ("postgres", "pg_read_all_data", True),
        ("postgres", "pg_signal_backend", True),
        ("postgres", "service_role", True),
        ("supabase_etl_admin", "pg_read_all_data", False),
        ("supabase_read_only_user", "pg_read_all_data", False),
        *storage,
    ]


@pytest.mark.parametrize(
    ("role", "settings"),
    [
        ("anon", {"statement_timeout=3s"}),
        ("authenticated", {"statement_timeout=8s"}),
        ("authenticator", {"statement_timeout=8s", "lock_timeout=8s"}),
        ("service_role", set()),
        ("postgres", {'search_path="$user", public, extensions'}),
        ("supabase_admin", {'search_path="$user", public, auth, extensions'}),
        ("supabase_auth_admin", {"search_path=auth", "idle_in_transaction_session_timeout=60000"}),
        ("supabase_storage_admin", {"search_path=storage"}),
        ("supabase_realtime_admin", {"search_path=realtime"}),
    ],
)
def test_settings_of_roles(db: psycopg.Connection[Any], role: str, settings: set[str]) -> None:
    assert set(one(db, "select coalesce(rolconfig, '{}') from pg_roles where rolname = %s", role)) == settings


def test_the_database_has_no_settings(db: psycopg.Connection[Any]) -> None:
    assert column(db, "select setconfig from pg_db_role_setting where setdatabase <> 0") == []


# --- schemas ----------------------------------------------------------------------------------------------


def test_the_tables_and_functions_are_those_of_a_project(db: psycopg.Connection[Any]) -> None:
    """``project.txt``: a line each; ``!`` is NOT NULL. ``realtime.messages_…`` is a partition of one day."""
    expected = Path(__file__).with_name("project.txt").read_text().splitlines()
    tables = column(
        db,
        "select format('%s.%s: %s', n.nspname, c.relname, string_agg(format('%s %s%s', a.attname,"
        "   format_type(a.atttypid, a.atttypmod), case when a.attnotnull then '!' end), ', ' order by a.attnum))"
        " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " join pg_attribute a on a.attrelid = c.oid and a.attnum > 0"
        " where c.relkind in ('r', 'p', 'v') and not c.relispartition and n.nspname in ('auth', 'storage', 'realtime',"
        "   'vault', 'supabase_functions', 'cron', 'net', 'pgmq') group by n.nspname, c.relname",
    )
    functions = column(
        db,
        "select format('%s.%s(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid))"
        " from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.proname !~ '^toolkit_'"
        "   and n.nspname in ('auth', 'storage', 'realtime', 'vault', 'supabase_functions', 'cron', 'net',"
        "   'graphql_public')",
    )
    assert sorted(tables + functions) == sorted(line for line in expected if not line.startswith("#"))


@pytest.mark.parametrize(
    ("schema", "owner", "makers"),
    [
        ("auth", "supabase_admin", {"supabase_auth_admin", "dashboard_user"}),
        ("storage", "supabase_admin", {"supabase_storage_admin", "dashboard_user"}),
        ("realtime", "supabase_admin", {"supabase_realtime_admin"}),
        ("extensions", "postgres", {"dashboard_user"}),
        ("vault", "supabase_admin", set()),
        ("graphql", "supabase_admin", set()),
        ("graphql_public", "supabase_admin", set()),
    ],
)
def test_who_owns_a_schema_and_may_make_something_in_it(
    db: psycopg.Connection[Any], schema: str, owner: str, makers: set[str]
) -> None:
    assert one(db, "select nspowner::regrole::text from pg_namespace where nspname = %s", schema) == owner
    found = db.execute(
        "select rolname from pg_roles r, pg_namespace n where nspname = %s and not rolsuper and r.oid <> nspowner"
        " and has_schema_privilege(r.oid, n.oid, 'create')",
        [schema],
    ).fetchall()
    assert {role for (role,) in found} - {"postgres"} == makers


@pytest.mark.parametrize(
    ("schema", "owner"),
    [
        ("auth", "supabase_auth_admin"),
        ("storage", "supabase_storage_admin"),
        ("supabase_functions", "supabase_functions_admin"),
    ],
)
def test_owners(db: psycopg.Connection[Any], schema: str, owner: str) -> None:
    found = column(
        db,
        "select relowner::regrole::text from pg_class where relkind in ('r', 'v', 'S')"
        f" and relnamespace = '{schema}'::regnamespace union"
        f" select proowner::regrole::text from pg_proc where pronamespace = '{schema}'::regnamespace",
    )
    assert found == [owner]


def test_row_level_security(db: psycopg.Connection[Any]) -> None:
    off = column(
        db,
        "select oid::regclass::text from pg_class where relkind in ('r', 'p') and not relrowsecurity"
        " and not relispartition and relnamespace in ('auth'::regnamespace, 'storage'::regnamespace,"
        " 'realtime'::regnamespace) order by 1",
    )
    assert off == [
        "auth.custom_oauth_providers",
        "auth.oauth_authorizations",
        "auth.oauth_client_states",
        "auth.oauth_clients",
        "auth.oauth_consents",
        "auth.webauthn_challenges",
        "auth.webauthn_credentials",
        "realtime.schema_migrations",
        "realtime.subscription",
    ]


@pytest.mark.parametrize("role", API)
def test_new_objects_in_public_are_granted(db: psycopg.Connection[Any], role: str) -> None:
    db.execute(
        "create table made (id serial primary key);"
        "create function made() returns int language sql as 'select 1'; revoke all on function made() from public"
    )
    granted = db.execute(
        "select has_table_privilege(%(role)s, 'made', p) from unnest(array['select', 'insert', 'update',"
        " 'delete', 'truncate', 'references', 'trigger']) p union all"
        " select has_sequence_privilege(%(role)s, 'made_id_seq', 'usage, update') union all"
        " select has_function_privilege(%(role)s, 'made()', 'execute')",
        {"role": role},
    ).fetchall()
    assert {answer for (answer,) in granted} == {True}


@pytest.mark.parametrize("role", API)
@pytest.mark.parametrize("table", ["auth.users", "auth.mfa_factors", "auth.webauthn_credentials"])
def test_accounts_are_closed_to_the_api(db: psycopg.Connection[Any], role: str, table: str) -> None:
    db.execute(f"set local role {role}".encode())
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute(f"select * from {table}".encode())


async def test_only_who_works_on_the_schema_finds_extensions_by_bare_names(stack: LocalStack) -> None:
    """PostgREST puts them on its own path; any other session of an API role has the default."""
    with psycopg.connect(stack.database_url) as db:
        assert len(one(db, "select gen_random_bytes(4)")) == 4
    with psycopg.connect(stack._source.rest_url) as db, pytest.raises(psycopg.errors.UndefinedFunction):
        db.execute("select gen_random_bytes(4)")


def test_who_is_asking(db: psycopg.Connection[Any]) -> None:
    user = uuid.uuid4()
    claims = {"sub": str(user), "role": "authenticated", "email": "a@example.com", "app_metadata": {"x": 1}}
    db.execute("set local role authenticated")
    assert db.execute("select auth.uid(), auth.role(), auth.jwt()").fetchone() == (None, None, None)
    db.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps(claims)])
    found = db.execute("select auth.uid(), auth.role(), auth.email(), auth.jwt()").fetchone()
    assert found == (user, "authenticated", "a@example.com", claims)


def test_the_publication_is_there(db: psycopg.Connection[Any]) -> None:
    found = db.execute(
        "select puballtables, pubowner::regrole::text = current_user from pg_publication where pubname = 'supabase_realtime'"
    ).fetchone()
    assert found == (False, True)


# --- what migrations do -------------------------------------------------------------------------------------


def test_a_bucket_and_a_policy_on_its_objects(db: psycopg.Connection[Any]) -> None:
    db.execute(
        "insert into storage.buckets (id, name, public) values ('avatars', 'avatars', true) on conflict do nothing"
    )
    db.execute(
        'create policy "own folder" on storage.objects for all to authenticated using'
        " (bucket_id = 'avatars' and (storage.foldername(name))[1] = (select auth.uid())::text)"
    )
    alice = str(uuid.uuid4())
    db.execute(
        "insert into storage.objects (bucket_id, name) values ('avatars', %s), ('avatars', 'x/a.png')",
        [f"{alice}/a.png"],
    )
    db.execute("select set_config('request.jwt.claims', %s, true)", [json.dumps({"sub": alice})])
    db.execute("set local role authenticated")
    assert column(db, "select name from storage.objects") == [f"{alice}/a.png"]


@pytest.mark.parametrize(
    ("name", "folders", "file", "extension"),
    [
        ("a/b/c.tar.gz", ["a", "b"], "c.tar.gz", "gz"),
        ("c.png", [], "c.png", "png"),
        ("a/noext", ["a"], "noext", "noext"),
        ("a/", ["a"], "", ""),
        ("", None, None, None),
        (None, None, None, None),
    ],
)
def test_parts_of_a_path(
    db: psycopg.Connection[Any],
    name: str | None,
    folders: list[str] | None,
    file: str | None,
    extension: str | None,
) -> None:
    found = db.execute(
        "select storage.foldername(%s), storage.filename(%s), storage.extension(%s)", [name] * 3
    )
    assert found.fetchone() == (folders, file, extension)


def test_a_bucket_is_listed_level_by_level(db: psycopg.Connection[Any]) -> None:
    db.execute("insert into storage.buckets (id, name) values ('b', 'b')")
    db.execute(
        "insert into storage.objects (bucket_id, name) select 'b', unnest(array['x.txt', 'u/z', 'u/a', 'u/d/e', 'U/q'])"
    )
    assert column(db, "select name from storage.search('', 'b')") == ["U", "x.txt"]
    assert column(db, "select name from storage.search('u/', 'b', 100, 2)") == ["a", "d", "q", "z"]
    assert column(db, "select name from storage.search('u/', 'b', 1, 2, 1)") == ["d"]
    assert column(
        db, "select name from storage.search('', 'b', search => 'x', sortcolumn => 'created_at')"
    ) == ["x.txt"]


def test_files_are_deleted_by_the_api_only(db: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="Use the Storage API"):
        db.execute("delete from storage.objects where false")


def test_the_policy_for_second_factors(db: psycopg.Connection[Any]) -> None:
    db.execute(
        "create table public.secret (id int, user_id uuid default auth.uid() references auth.users);"
        "alter table public.secret enable row level security;"
        "create policy mfa on public.secret as restrictive to authenticated using ("
        " (select auth.jwt() ->> 'aal') = 'aal2' or not exists (select from auth.mfa_factors f"
        " where f.user_id = (select auth.uid()) and f.status = 'verified'))"
    )


def test_a_webhook_is_taken_and_says_once_that_it_calls_nobody(db: psycopg.Connection[Any]) -> None:
    said: list[str] = []
    db.add_notice_handler(lambda notice: said.append(str(notice.message_primary)))
    db.execute(
        "create table public.c (id int primary key);"
        "create trigger hook after insert on public.c for each row execute function"
        " supabase_functions.http_request('http://localhost/x', 'POST', '{}', '{}', '1000')"
    )
    db.execute("insert into public.c values (1), (2)")
    db.execute("insert into public.c values (3)")
    assert [text for text in said if "stand-in" in text] == [
        "supabase_functions.http_request is a stand-in of the local stack: no webhook is called (trigger hook)"
    ]
    db.execute(
        "create trigger wrong after insert on public.c for each row execute function"
        " supabase_functions.http_request('http://localhost/x', 'BREW')"
    )
    with pytest.raises(psycopg.errors.RaiseException, match="BREW"):
        db.execute("insert into public.c values (4)")


async def test_what_supautils_lets_postgres_do() -> None:
    """Though it owns none of it, and is a member of no owner before and after."""
    members = "select count(*) from pg_auth_members where member = 'postgres'::regrole and roleid::regrole::text ~ 'supabase_.*_admin'"
    async with LocalStack(superuser=False) as stack:
        with psycopg.connect(stack.database_url, autocommit=True) as db:
            db.execute(
                "create function public.unmake(name text) returns void language plpgsql as"
                " $$ begin execute 'drop policy p on ' || name; end $$"
            )
            for table in (
                "realtime.messages",
                "storage.objects",
                "storage.buckets",
                "auth.users",
                "auth.mfa_factors",
            ):
                db.execute(f"create policy p on {table} for select to authenticated using (true)".encode())
                db.execute(f"alter policy p on {table} to anon".encode())
                db.execute("select public.unmake(%s)", [table])
                with pytest.raises(psycopg.errors.InsufficientPrivilege, match="must be owner"):
                    db.execute(f"alter table {table} disable row level security".encode())
            db.execute(
                "create function public.f() returns trigger language plpgsql as 'begin return new; end'"
            )
            db.execute("create trigger t after insert on auth.users for each row execute function public.f()")
            db.execute("drop trigger if exists t on auth.users")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute("create table auth.mine ()")
            assert one(db, members) == 0
            with db.transaction(force_rollback=True):
                db.execute("create policy p on realtime.messages for select using (true)")
                assert one(db, members) == 0


# --- broadcast from the database ------------------------------------------------------------------------------


def test_without_the_days_partition_a_broadcast_is_a_warning(db: psycopg.Connection[Any]) -> None:
    said: list[str] = []
    db.add_notice_handler(lambda notice: said.append(f"{notice.severity}: {notice.message_primary}"))
    partitions = column(
        db, "select inhrelid::regclass::text from pg_inherits where inhparent = 'realtime.messages'::regclass"
    )
    db.execute(f"drop table {', '.join(partitions)}".encode())
    db.execute("select realtime.send('{}', 'e', 'topic')")
    assert said == ['WARNING: WarnSendingBroadcastMessage: no partition of relation "messages" found for row']
    assert "messages_default" not in " ".join(partitions)


@pytest.mark.parametrize("operation", ["TRUNCATE", "insert", "", None])
def test_broadcast_changes_refuses_unknown_operations(
    db: psycopg.Connection[Any], operation: str | None
) -> None:
    with pytest.raises(
        psycopg.errors.RaiseException, match="Failed to process the row: Unexpected operation type"
    ):
        db.execute(
            "select realtime.broadcast_changes('t', 'e', %s, 'c', 'public', row(1), null::record)",
            [operation],
        )


def test_a_message_has_one_payload(db: psycopg.Connection[Any]) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match="messages_payload_exclusive"):
        db.execute(
            "insert into realtime.messages (topic, extension, payload, binary_payload) values ('t', 'broadcast', '{}', '')"
        )


# --- PostgREST ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("statement", "asks"),
    [
        ("create table public.{name} ()", True),
        ("create function public.{name}() returns int language sql as 'select 1'", True),
        ("drop table public.{name}_before", True),
        ("create temp table {name} ()", False),
        ("insert into public.{name}_before default values", False),
    ],
)
def test_ddl_asks_postgrest_to_reload(stack: LocalStack, statement: str, asks: bool) -> None:
    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(stack.database_url, autocommit=True) as db:
        db.execute(f"create table public.{name}_before ()".encode())
        db.execute("listen pgrst")
        db.execute(statement.format(name=name).encode())
        db.execute("notify pgrst, 'the end'")
        heard = [notice.payload for notice in db.notifies(timeout=5, stop_after=1)]
        db.execute(
            f"drop table if exists public.{name}, public.{name}_before; drop function if exists {name}".encode()
        )
    assert heard[0] == ("reload schema" if asks else "the end")


async def test_it_takes_the_place_of_what_the_image_of_supabase_starts_with(stack: LocalStack) -> None:
    """The first tables of migrations/db/init-scripts in supabase/postgres; whoever has rows in them keeps them."""
    name = f"image_{uuid.uuid4().hex[:8]}"
    url = psycopg.conninfo.make_conninfo(stack.admin_url, dbname=name)
    with psycopg.connect(stack.admin_url, autocommit=True) as admin:
        admin.execute(f"create database {name}".encode())
        try:
            with psycopg.connect(url, autocommit=True) as db:
                db.execute(
                    "create schema auth; create table auth.users (id uuid primary key, email varchar(255));"
                    "create table auth.refresh_tokens (id bigserial primary key, token varchar(255));"
                    "create table auth.audit_log_entries (id uuid primary key, payload json);"
                    "create schema storage; create table storage.buckets (id text primary key, name text);"
                    "create table storage.objects (id uuid primary key, bucket_id text references storage.buckets);"
                    "create function storage.search(prefix text, bucketname text, limits int default 100,"
                    " levels int default 1, offsets int default 0) returns table (name text) language sql"
                    " as $$ select null where false $$"
                )
                await apply_baseline(url)
                db.execute("select is_anonymous, token from auth.users, auth.refresh_tokens")
                assert column(db, "select name from storage.search('', 'b')") == []
                db.execute("insert into auth.users (id) values (gen_random_uuid())")
                await apply_baseline(url)
                assert one(db, "select count(*) from auth.users") == 1
        finally:
            admin.execute(f"drop database {name} with (force)".encode())


async def test_it_can_be_applied_again(stack: LocalStack) -> None:
    """As it is to data that was kept; nothing that is there is lost."""
    with psycopg.connect(stack.database_url, autocommit=True) as db:
        db.execute("insert into storage.buckets (id, name) values ('kept', 'kept') on conflict do nothing")
        db.execute("select cron.schedule('kept', '0 3 * * *', 'select 1')")
        await apply_baseline(stack.admin_url)
        assert one(db, "select count(*) from storage.buckets where id = 'kept'") == 1
        assert one(db, "select cron.unschedule('kept')") is True

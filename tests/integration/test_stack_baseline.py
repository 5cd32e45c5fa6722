"""What a project has before its first migration."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from realtime_toolkit import stack as stack_package

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realtime_toolkit.stack import LocalStack

pytestmark = pytest.mark.needs_stack("about the baseline that the stack makes")

BASELINE = Path(stack_package.__file__).with_name("postgres") / "baseline.sql"


@pytest.fixture
def db(stack: LocalStack) -> Iterator[psycopg.Connection[Any]]:
    """A transaction as ``postgres``, rolled back."""
    with psycopg.connect(stack.database_url) as connection:
        yield connection
        connection.rollback()


@pytest.mark.parametrize(
    ("role", "login", "bypass", "inherit"),
    [
        ("anon", False, False, False),
        ("authenticated", False, False, False),
        ("service_role", False, True, False),
        ("authenticator", True, False, False),
        ("supabase_admin", True, True, True),
        ("supabase_auth_admin", True, False, False),
        ("supabase_realtime_admin", False, False, False),
        ("dashboard_user", False, False, True),
        ("postgres", True, True, True),
    ],
)
def test_roles(db: psycopg.Connection[Any], role: str, login: bool, bypass: bool, inherit: bool) -> None:
    found = db.execute(
        "select rolcanlogin, rolbypassrls, rolinherit from pg_roles where rolname = %s", [role]
    ).fetchone()
    assert found == (login, bypass, inherit)


def test_the_authenticator_may_become_the_api_roles_only(db: psycopg.Connection[Any]) -> None:
    granted = db.execute(
        "select array_agg(roleid::regrole::text order by 1) from pg_auth_members"
        " where member = 'authenticator'::regrole"
    ).fetchone()
    assert granted == (["anon", "authenticated", "service_role"],)


@pytest.mark.parametrize(
    ("role", "setting"),
    [
        ("anon", "statement_timeout=3s"),
        ("authenticated", "statement_timeout=8s"),
        ("authenticator", "statement_timeout=8s"),
        ("supabase_auth_admin", "idle_in_transaction_session_timeout=60000"),
    ],
)
def test_settings_of_roles(db: psycopg.Connection[Any], role: str, setting: str) -> None:
    found = db.execute("select rolconfig from pg_roles where rolname = %s", [role]).fetchone()
    assert found is not None
    assert setting in found[0]


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
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


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_accounts_are_closed_to_the_api(db: psycopg.Connection[Any], role: str) -> None:
    db.execute(f"set local role {role}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute("select * from auth.users")


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


def test_the_stand_ins_for_missing_extensions(db: psycopg.Connection[Any]) -> None:
    found = db.execute(
        "select encode(extensions.digest('abc', 'sha256'), 'hex'), encode(extensions.digest('abc'::bytea, 'md5'),"
        " 'hex'), length(extensions.gen_random_bytes(100)), uuid_generate_v4() <> uuid_generate_v4()"
    ).fetchone()
    assert found == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "900150983cd24fb0d6963f7d28e17f72",
        100,
        True,
    )


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


def test_it_can_be_applied_again(stack: LocalStack) -> None:
    with psycopg.connect(stack.admin_url) as db:
        db.execute(BASELINE.read_bytes())
        db.rollback()

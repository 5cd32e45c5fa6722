"""The pytest plugin, used the way a stranger's project uses it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

from realtime_toolkit import testing
from realtime_toolkit.migrate import packaged_migrations

if TYPE_CHECKING:
    from pathlib import Path

    from realtime_toolkit.stack import LocalStack

MIGRATION = """
create table public.notes (id bigint generated always as identity primary key, owner uuid default auth.uid(), body text);
alter table public.notes enable row level security;
create policy own on public.notes to authenticated using (owner = (select auth.uid()));
"""

CONFIG = """
[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
"""

starts_stacks = pytest.mark.needs_stack("starts stacks of its own, through the plugin")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one migration, and nothing that names the toolkit."""
    migrations = tmp_path / "supabase" / "migrations"
    migrations.mkdir(parents=True)
    (migrations / "20260101000000_notes.sql").write_text(MIGRATION)
    (tmp_path / "pytest.ini").write_text(CONFIG)
    return tmp_path


def run(project: Path, *options: str, **files: str) -> str:
    for name, text in files.items():
        (project / f"{name}.py").write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    return done.stdout + done.stderr


def example() -> str:
    """The one in the plugin's docstring, which a reader will paste."""
    assert testing.__doc__ is not None
    _, _, rest = testing.__doc__.partition("\n\n")
    return textwrap.dedent(rest[: rest.index("\n\n``")])


@pytest.fixture
def chat_project(project: Path) -> Path:
    """With the toolkit's own migrations, too."""
    shutil.copytree(packaged_migrations(), project / "supabase" / "migrations", dirs_exist_ok=True)
    return project


@starts_stacks
def test_the_example_in_the_docstring(chat_project: Path) -> None:
    out = run(chat_project, test_example=example())
    assert "1 passed" in out, out


@starts_stacks
def test_a_loss_is_named(chat_project: Path) -> None:
    out = run(
        chat_project,
        "--tb=short",
        test_loss="""
        async def test_loss(supabase_branch, as_user, listener_for, assert_delivered, inject):
            alice = as_user()
            assert alice.url == supabase_branch.url
            async with alice.client() as client:
                made = await client.table("conversations").insert({"title": "x"}).execute()
                id_ = made.data[0]["id"]
                async with listener_for(alice, f"conversation:{id_}") as listener:
                    await assert_delivered(listener)
                    inject("batch-lost")
                    await client.table("conversations").update({"title": "y"}).eq("id", id_).execute()
                    await assert_delivered(listener)
        """,
    )
    assert "1 failed" in out, out
    assert "diverged in 1 rows" in out, out
    assert "stale public.conversations [" in out, out


@starts_stacks
def test_each_test_has_a_branch_of_its_own(project: Path) -> None:
    out = run(
        project,
        test_branches="""
        import httpx, pytest

        @pytest.mark.parametrize("number", range(3))
        def test_it_is_empty(supabase_branch, number):
            headers = {"apikey": supabase_branch.service_role_key}
            url = f"{supabase_branch.url}/rest/v1/notes"
            assert httpx.get(url, headers=headers).json() == []
            assert httpx.post(url, headers=headers, json={"body": "x"}).status_code == 201
        """,
    )
    assert "3 passed" in out, out


@starts_stacks
def test_it_works_under_xdist(project: Path) -> None:
    out = run(
        project,
        "-n2",
        test_many="""
        import httpx, pytest

        @pytest.mark.parametrize("number", range(6))
        def test_a_user_sees_own_rows_only(as_user, number):
            user = as_user()
            url = f"{user.url}/rest/v1/notes"
            assert httpx.post(url, headers=user.headers, json={"body": "x"}).status_code == 201
            assert len(httpx.get(url, headers=user.headers).json()) == 1
        """,
    )
    assert "6 passed" in out, out


@starts_stacks
def test_the_stack_can_be_configured(project: Path) -> None:
    out = run(
        project,
        conftest="""
        import pytest

        @pytest.fixture(scope="session")
        def supabase_stack_options(supabase_stack_options):
            return {**supabase_stack_options, "version": 18, "jwt_secret": "s" * 40}
        """,
        test_it="""
        import psycopg

        def test_it(supabase_stack):
            assert supabase_stack.jwt_secret == "s" * 40
            with psycopg.connect(supabase_stack.database_url) as db:
                assert db.info.server_version // 10000 == 18
        """,
    )
    assert "1 passed" in out, out


@starts_stacks
def test_which_postgres_it_stands_on(project: Path) -> None:
    test = """
        import psycopg

        def test_it(supabase_stack):
            with psycopg.connect(supabase_stack.database_url) as db:
                assert db.info.server_version // 10000 == 18
        """
    out = run(project, "--supabase-postgres", "18", test_it=test)
    assert "1 passed" in out, out


def test_what_is_verified_stands_on_it_too(project: Path) -> None:
    out = run(project, "--supabase-postgres", "13", "--supabase-verify", test_it="def test_it(): pass")
    assert "not '13'" in out, out


@starts_stacks
def test_a_stack_that_cannot_start_fails_in_one_line(project: Path) -> None:
    (project / "supabase/migrations/20260102000000_wrong.sql").write_text("select 1/0;")
    out = run(project, "--tb=line", test_it="def test_it(supabase_stack): pass")
    assert "1 error" in out, out
    assert "MigrationError: 20260102000000_wrong.sql" in out, out


def test_a_project_that_is_already_there(chat_project: Path, stack: LocalStack, monkeypatch: Any) -> None:
    for name, value in stack.env().items():
        monkeypatch.setenv(name, value)
    out = run(
        chat_project,
        "-rs",
        "--supabase-external",
        test_example=example(),
        test_more="""
        def test_a_branch(supabase_branch): pass
        def test_a_superuser(supabase_stack): supabase_stack.admin_url
        async def test_a_user(as_user):
            async with as_user().client() as client:
                await client.table("conversations").insert({"title": "x"}).execute()
        """,
    )
    assert "1 passed, 3 skipped" in out, out
    assert "has no branches" in out, out
    assert "has no faults" in out, out
    assert "has no admin_url" in out, out


def test_a_run_that_does_not_use_it_pays_nothing(project: Path) -> None:
    out = run(
        project,
        test_it="""
        import sys

        def test_it():
            assert "realtime_toolkit.testing" in sys.modules
            heavy = {"uvicorn", "starlette", "psycopg", "supabase", "httpx", "realtime_toolkit.stack"}
            assert not heavy & set(sys.modules)
        """,
    )
    assert "1 passed" in out, out

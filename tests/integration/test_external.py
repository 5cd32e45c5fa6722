"""Whose project the tests may use, and that they leave it as they found it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from realtime_toolkit import migrate
from realtime_toolkit.errors import ConfigError, Unreachable
from realtime_toolkit.testing import ExternalProject
from tests.external.lookout import Lookout
from tests.external.project import MINE, allowed, left_as_found

if TYPE_CHECKING:
    from collections.abc import Callable

    from realtime_toolkit.stack import LocalStack

ROOT = Path(__file__).parents[2]
ELSEWHERE = "https://abcdefghijklmnopqrst.supabase.co"


@pytest.fixture
def migrated(stack: LocalStack, project: Callable[..., str]) -> dict[str, str]:
    """The variables of an empty project that is not on this machine, as far as its address tells."""
    dsn = project()
    migrate.apply_all(dsn, ROOT / "supabase" / "migrations")
    url = urlsplit(stack.database_url)._replace(path=f"/{conninfo_to_dict(dsn)['dbname']}").geturl()
    return {**stack.env(), "DATABASE_URL": url, "SUPABASE_URL": ELSEWHERE}


def execute(env: dict[str, str], statement: str) -> None:
    with psycopg.connect(env["DATABASE_URL"], autocommit=True) as db:
        db.execute(statement.encode())


def test_an_empty_project_may_be_used_wherever_it_is(migrated: dict[str, str]) -> None:
    assert allowed(migrated).url == ELSEWHERE


@pytest.mark.parametrize(
    ("made", "named"),
    [
        ("insert into conversations (user_id) values (gen_random_uuid())", "public.conversations"),
        ("create table public.theirs ()", "public.theirs"),
        ("insert into auth.users (id, email) values (gen_random_uuid(), 'a@b.c')", "auth.users"),
    ],
)
def test_with_something_in_it_a_word_is_needed(migrated: dict[str, str], made: str, named: str) -> None:
    execute(migrated, made)
    with pytest.raises(ConfigError, match=rf"not empty \({named}\): {MINE}=1"):
        allowed(migrated)
    assert allowed({**migrated, MINE: "1"})
    assert allowed({**migrated, "SUPABASE_URL": "http://127.0.0.1:54321"}), "on this machine"


def test_a_tunnel_does_not_make_it_ours(migrated: dict[str, str]) -> None:
    """Its database seems to be on this machine: that is not enough, and the other way round."""
    execute(migrated, "create table public.theirs ()")
    tunnelled = migrated["DATABASE_URL"].replace("127.0.0.1", "localhost")
    with pytest.raises(ConfigError):
        allowed({**migrated, "DATABASE_URL": tunnelled})


def test_a_project_that_cannot_be_looked_at_is_refused_in_a_line(migrated: dict[str, str]) -> None:
    with pytest.raises(Unreachable, match=r"^DATABASE_URL: [^\n]+$"):
        allowed({**migrated, "DATABASE_URL": "postgresql://postgres@127.0.0.1:9/postgres"})


def test_pytest_and_make_say_it_in_a_line(migrated: dict[str, str]) -> None:
    execute(migrated, "create table public.theirs ()")
    env = {**os.environ, **migrated, MINE: ""}
    for command in (["pytest", "--supabase-external", "tests/e2e"], ["tests.external.project"]):
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0
        (line,) = done.stderr.strip().splitlines()
        assert MINE in line


def test_a_server_that_subscribes_everybody_anew_is_noticed(stack: LocalStack) -> None:
    lookout = Lookout(stack, within=1)
    began = time.monotonic()
    lookout.start()
    try:
        assert lookout.subscribed.wait(20)
        assert not lookout.disturbed(began)
        stack.faults.inject("publication-change", 0.1)
        execute(stack.env(), "insert into conversations (user_id) values (gen_random_uuid())")
        assert lookout.disturbed(time.monotonic())
    finally:
        lookout.stop()


def test_conversations_of_test_users_are_swept_up(migrated: dict[str, str]) -> None:
    of_nobody = "insert into conversations (user_id) values (gen_random_uuid())"
    execute(
        migrated,
        "insert into auth.users (id, email) values ('00000000-0000-4000-8000-000000000001', 'a@b.c')",
    )
    execute(migrated, of_nobody)
    somebodys = "insert into conversations (user_id) values ('00000000-0000-4000-8000-000000000001')"
    with left_as_found(ExternalProject.from_env(migrated)):
        execute(migrated, of_nobody)
        execute(migrated, somebodys)
    with psycopg.connect(migrated["DATABASE_URL"]) as db:
        assert db.execute("select count(*) from conversations").fetchone() == (2,)


def test_what_is_left_behind_is_named(migrated: dict[str, str]) -> None:
    with (
        pytest.raises(AssertionError, match=r"otherwise than they found it: .*type forgotten"),
        left_as_found(ExternalProject.from_env(migrated)),
    ):
        execute(migrated, "create table public.forgotten ()")

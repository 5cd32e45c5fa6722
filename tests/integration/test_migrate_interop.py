"""The genuine Supabase CLI on the same database: each follows the other, and both write the same rows.

It is installed once, by npm, into the user's cache; ``SUPABASE_CLI`` names another one. Measured with 3.1.0.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from realtime_toolkit import migrate
from realtime_toolkit.migrate.files import read_directory
from realtime_toolkit.migrate.sqlsplit import split
from realtime_toolkit.stack.postgres.places import cache_dir
from realtime_toolkit.stack.postgres.template import BASELINE
from tests.integration.databases import maker_url
from tests.integration.migrating import recorded, rows, run, tables, write

PACKAGE = "supabase@3.1.0"
Supabase = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def executable() -> Path:
    named = os.environ.get("SUPABASE_CLI")
    return Path(named) if named else installed()


def installed() -> Path:
    home = cache_dir() / PACKAGE.replace("@", "-")
    program = home / "node_modules" / ".bin" / "supabase"
    if not program.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("the Supabase CLI comes from npm, and there is no npm here")
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as building:
            command = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", building, PACKAGE]
            try:
                subprocess.run(command, check=True, capture_output=True, timeout=45)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
                pytest.skip(f"npm cannot install {PACKAGE}: {error}")
            if not home.exists():
                shutil.copytree(building, home, symlinks=True)
    return program


@pytest.fixture
def supabase(executable: Path, empty_database: str, project: Path, tmp_path: Path) -> Supabase:
    """``supabase("migration", "list")`` runs the CLI in the project on the empty database; its JSON."""
    parts = psycopg.conninfo.conninfo_to_dict(empty_database)
    user, password = quote(str(parts["user"])), quote(str(parts.get("password") or "none"))
    url = f"postgresql://{user}:{password}@{parts['host']}:{parts['port']}/{parts['dbname']}?sslmode=disable"
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "SUPABASE_TELEMETRY_DISABLED": "1",
        "DO_NOT_TRACK": "1",
    }

    def call(*command: str) -> dict[str, Any]:
        done = subprocess.run(
            [str(executable), *command, "--yes", "--output-format", "json", f"--remote={url}"],
            cwd=project,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return call


@pytest.fixture
def project(tmp_path: Path) -> Path:
    home = tmp_path / "project"
    (home / "supabase" / "migrations").mkdir(parents=True)
    (home / "supabase" / "config.toml").write_text('project_id = "interop"\n')
    return home


@pytest.fixture
def directory(project: Path) -> Path:
    return project / "supabase" / "migrations"


def versions(answer: dict[str, Any], side: str) -> list[str]:
    return [row[side].strip() for row in answer["migrations"] if row[side].strip()]


def test_each_follows_the_other(supabase: Supabase, empty_database: str, directory: Path) -> None:
    write(directory, a="create table a (i int); -- of a", b="", c="-- nothing\n")
    supabase("migration", "up")
    assert migrate.status(empty_database, directory).ok
    assert migrate.up(empty_database, directory).already == 3

    write(directory, d="create table d (i int);\n-- tail;\n", e=" \n", f="select 1;; /* x; */ select 'a;''b'")
    assert len(migrate.up(empty_database, directory).applied) == 3
    listed = supabase("migration", "list")
    assert versions(listed, "local") == versions(listed, "remote") == [f"{n:014}" for n in range(1, 7)]
    assert supabase("db", "push")["upToDate"] is True
    assert tables(empty_database) == {"a", "d"}


def test_each_repairs_for_the_other(supabase: Supabase, empty_database: str, directory: Path) -> None:
    write(directory, a="select 1; -- a", b="select 2")
    first, second = (f"{n:014}" for n in (1, 2))
    supabase("migration", "repair", "--status", "applied", first, second)
    assert migrate.repair(empty_database, directory, [first, second], status="applied").versions == ()
    migrate.repair(empty_database, directory, [first], status="reverted")
    assert versions(supabase("migration", "list"), "remote") == [second]
    migrate.repair(empty_database, directory, [first], status="applied")
    supabase("migration", "repair", "--status", "reverted", second)
    assert [entry.state for entry in migrate.status(empty_database, directory).entries] == [
        "applied",
        "pending",
    ]


STATEMENTS = {
    "semicolons": "select 1;;\n ; select 2 ;",
    "dollars": "do $$ begin; $a$;$a$ end $$; do $é1$ ; $é1$; select a$b$ from t; select $1;",
    "strings": r"select 'a;''b', E'it\'s;', E'\\', U&'\0061;', B'1', X'F'; select 'a\'; x",
    "continued": "select E'a'\n'b\\';c'; x",
    "names": 'select "a;""b;"; select 1 "c\\"; x',
    "comments": "/* a /* ; */ ; */ select 1; -- ; b\nselect 2 -- c;\n; /* ; */",
    "tail": "select 1;\n-- the end;",
    "windows": "select 1;\r\n-- c;\r\nselect 2;\r\n",
    "body": "create function f() returns int language sql begin atomic select 1; select 2; end; x",
    "case": "create or replace function f(int) returns int BEGIN ATOMIC select case when a then 1 end; END; x",
    "ends": "create procedure p() begin atomic select weekend, 'end;' from ends; select 2; end; x",
    "columns": "begin; create table t (atomic int); select 1 as begin, 2 atomic; end; x",
    "operators": "select 1 --;\n -1; select 2/3; select a ->> 'b'; select 1 - - 1; x",
    "space": "\u00a0select 1\u2003;\t\f\v select 2;\u3000",
    "mark": "\ufeffselect 1; select 2",
    "empty": "",
    "blank": " \n\t",
    "remark": "-- nothing else",
    "unclosed": "select 1; select 'a;",
    "long": "select '" + "x" * 300_000 + ";'; select 2",
}


def test_statements_are_stored_alike(supabase: Supabase, empty_database: str, directory: Path) -> None:
    """By repair, which stores statements without running them."""
    write(directory, **STATEMENTS)
    supabase("migration", "repair", "--status", "applied", *(m.version for m in read_directory(directory)))
    theirs = {name: statements for _, name, statements in recorded(empty_database)}
    assert theirs == {m.name: m.texts for m in read_directory(directory)}
    assert theirs["body"] == [STATEMENTS["body"].removesuffix("; x"), "x"]


# Here the CLI takes a statement apart, and the file fails; with us it runs. Rows that nobody else can write.
BEYOND = {
    "rule": "create rule r as on insert to a do also (insert into b values (1); insert into b values (2));",
    "comment": "create function f() returns int language sql begin /* x */ atomic select 1; select 2; end;",
    "strings": r"set standard_conforming_strings = off; set backslash_quote = on; select 'a\';b';",
}


@pytest.mark.parametrize("name", BEYOND)
def test_what_only_we_can_run(name: str, supabase: Supabase, empty_database: str, directory: Path) -> None:
    run(empty_database, "create table a (i int); create table b (i int)")
    write(directory, _1_it=BEYOND[name])
    with pytest.raises(AssertionError, match="SQLSTATE 42601"):
        supabase("migration", "up")
    assert len(migrate.up(empty_database, directory).applied) == 1


def test_our_own_migrations_by_either(
    supabase: Supabase, empty_database: str, stack: Any, project: Path
) -> None:
    admin = psycopg.conninfo.make_conninfo(maker_url(stack), dbname=database_of(empty_database))
    run(admin, "".join(script.read_text(encoding="utf-8") for script in BASELINE))
    migrate.init(project)
    directory = project / "supabase" / "migrations"
    half = read_directory(directory)[2].version
    migrate.up(empty_database, directory, target=half)
    supabase("migration", "up")
    assert migrate.status(empty_database, directory).ok
    by_us_and_them = recorded(empty_database)
    assert by_us_and_them == [
        (m.version, m.name, [s.text for s in split(m.sql)]) for m in read_directory(directory)
    ]
    assert rows(empty_database, "select to_regclass('public.message_chunks') is not null") == [(True,)]


def database_of(dsn: str) -> str:
    return str(psycopg.conninfo.conninfo_to_dict(dsn)["dbname"])

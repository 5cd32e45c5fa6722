"""migrate on names that somebody could choose: of tables, of files, in the history."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from realtime_toolkit import migrate
from realtime_toolkit.errors import InputError, MigrationError
from realtime_toolkit.migrate.sqlsplit import printable, split
from realtime_toolkit.shown import ACTED_ON, shown
from tests.integration.migrating import recorded, rows, run, write
from tests.security import hostile
from tests.security.test_verify_endings import PROGRAM, as_url

if TYPE_CHECKING:
    from realtime_toolkit.stack import LocalStack

ODD = re.compile(f"(?!\n)[{ACTED_ON}]")
MIGRATIONS = Path(__file__).parents[2] / "supabase" / "migrations"
NAMES = [name for name in hostile.NAMES if name != "public"]


def quoted(name: str) -> str:
    return psycopg.sql.Identifier(name).as_string()


Program = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """``program(url, *args)`` is the command, run in the test's directory."""

    def call(url: str, *args: str) -> subprocess.CompletedProcess[bytes]:
        env = {**os.environ, "DATABASE_URL": as_url(url)}
        return subprocess.run(
            [PROGRAM, *args], cwd=tmp_path, env=env, capture_output=True, timeout=50, check=False
        )

    return call


# -- tables -----------------------------------------------------------------------------------------------


def test_the_plan_names_the_locks_and_acts_on_nothing(
    project: Callable[..., str], tmp_path: Path, program: Program
) -> None:
    url = project("".join(f"create table public.{quoted(name)} (id int);" for name in NAMES))
    write(
        tmp_path / "m",
        a="".join(f"alter table public.{quoted(name)} add column more bigint;\n" for name in NAMES),
    )
    done = program(url, "migrate", "plan", "--dir", "m")
    text = done.stdout.decode()
    assert done.returncode == 0, done.stderr
    assert not ODD.search(text.replace("\t", "").replace("\xa0", ""))
    locks = re.findall(r"^--   AccessExclusiveLock on (.+), blocks reads and writes$", text, re.MULTILINE)
    wanted = rows(
        url,
        "select format('%I.%I', 'public', relname) from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace",
    )
    assert sorted(locks) == sorted(shown(name) for (name,) in wanted)
    plan = json.loads(program(url, "migrate", "plan", "--dir", "m", "--json").stdout)
    (file,) = plan["files"]
    assert {lock["relation"] for s in file["statements"] for lock in s["locks"]} == {
        name for (name,) in wanted
    }


def test_a_statement_that_waits_names_its_table(project: Callable[..., str], tmp_path: Path) -> None:
    url, name = project('create table public."esc\x1b[31m\nx" (id int)'), 'public."esc\x1b[31m\nx"'
    write(tmp_path, a=f"alter table {name} add column more int;")
    lines: list[str] = []
    with psycopg.connect(url) as other:
        other.execute(f"lock table {name}".encode())
        with pytest.raises(MigrationError, match="55P03"):
            migrate.up(url, tmp_path, lock_timeout=0.05, attempts=2, notice=lines.append)
    assert any("attempt 2 of 2" in line for line in lines)


@pytest.mark.parametrize("name", NAMES)
def test_a_table_of_that_name_can_be_tracked(tracking: str, tmp_path: Path, name: str) -> None:
    table, column = quoted(name), quoted(f"o{name}"[:20])
    run(
        tracking,
        f"create table public.{table} (id uuid primary key, {column} uuid not null); alter table public.{table} enable row level security",
    )
    track = migrate.Track(f"public.{table}", "owner", f"o{name}"[:20])
    made = migrate.new(tmp_path, "track it", track=track)
    assert made.sql == Path(made.path).read_bytes().decode()
    for statement in split(made.sql):
        run(tracking, statement.text)
    assert rows(
        tracking,
        f"select scope_column from realtime_toolkit.tracked where relation = {_literal(f'public.{table}')}::regclass",
    )


def _literal(text: str) -> str:
    return psycopg.sql.Literal(text).as_string()


@pytest.fixture(scope="module")
def tracking(project_of: Callable[..., str]) -> str:
    url = project_of()
    migrate.apply_all(url, MIGRATIONS)
    return url


@pytest.mark.parametrize("name", ["\udcff", "a\0b"])
def test_what_no_name_can_be_leaves_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError):
        migrate.Track(f'public."{name}"', "owner", "o")
    with pytest.raises(InputError):
        migrate.Track("public.t", "owner", name)


# -- files ------------------------------------------------------------------------------------------------


FILES = [
    "esc\x1b[31mred",
    "tab\tand\x9bcsi",
    "\u202egnirts",
    "😀",
    "%s",
    "a'b\"c",
    " ",
    "$(id)",
    "..",
    "back\\slash",
]


def test_files_of_odd_names(project: Callable[..., str], tmp_path: Path, program: Program) -> None:
    url, directory = project(), tmp_path / "m"
    directory.mkdir()
    for number, name in enumerate(FILES, start=1):
        (directory / f"{number:014}_{name}.sql").write_text(f"create table t{number} ()")
    (directory / "no\nversion.sql").write_text("")
    (directory / "1_line\nbreak.sql").write_text("")
    for args in (
        ("plan",),
        ("up",),
        ("status",),
        ("status", "--json"),
        ("repair", "--status", "reverted", f"{1:014}"),
        ("status",),
    ):
        done = program(url, "migrate", *args, "--dir", "m")
        assert done.returncode == 0, done.stderr
        assert not ODD.search((done.stdout + done.stderr).decode()), args
        assert b"no\nversion" not in done.stdout + done.stderr
    assert [name for _, name, _ in recorded(url)] == FILES[1:]


def test_a_file_whose_name_is_not_text(project: Callable[..., str], tmp_path: Path, program: Program) -> None:
    url, directory = project(), tmp_path / "m"
    directory.mkdir()
    (Path(os.fsdecode(os.fsencode(directory) + b"/1_a\xff.sql"))).write_text("create table t ()")
    for command in ("up", "plan", "status"):
        done = program(url, "migrate", command, "--dir", "m")
        assert done.returncode == 1
        assert (
            done.stderr
            == b"error: 1_a\\udcff.sql: the file's name is not UTF-8, which the history is; rename it\n"
        )


# -- the history ------------------------------------------------------------------------------------------


def test_rows_of_odd_names(project: Callable[..., str], tmp_path: Path, program: Program) -> None:
    url = project()
    write(tmp_path / "m", a="create table a ();")
    migrate.up(url, tmp_path / "m")
    versions = ["20260101000000", "../../../evil", "esc\x1b[31m", "line\nbreak", "", " ", "/tmp/evil", "-- x"]
    with psycopg.connect(url, autocommit=True) as connection:
        for version in versions:
            connection.execute(
                "insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, '{select 1}')",
                (version, "../x\x1b\n/" + "y" * 300),
            )
    for args in (
        ("status",),
        ("status", "--json"),
        ("up",),
        ("plan",),
        ("baseline",),
        ("repair", "--status", "reverted", *filter(None, versions[1:-1])),
    ):
        done = program(url, "migrate", *args, "--dir", "m")
        assert b"Traceback" not in done.stderr
        assert not ODD.search((done.stdout + done.stderr).decode()), args
        assert done.stderr.count(b"\n") == len(done.stderr.splitlines())
    made = sorted(path.name for path in (tmp_path / "m").iterdir())
    assert [name[:15] for name in made] == [f"{1:014}_", "20260101000000_"]
    assert not ODD.search("".join(made))
    assert not list(tmp_path.rglob("*evil*"))
    assert {version for version, *_ in recorded(url)} == {f"{1:014}", "20260101000000", "", "-- x"}


def test_a_dump_of_odd_names_makes_the_same_again(project: Callable[..., str], tmp_path: Path) -> None:
    url, there = project(*(hostile.schema(name, of=name) for name in NAMES)), project()
    made = migrate.baseline(url, tmp_path, dump=True)
    assert made.dumped is not None
    run(there, "drop schema public cascade; create schema public")
    migrate.up(there, tmp_path)
    objects = """
      select 'table', format('%I.%I.%I', n.nspname, c.relname, a.attname) from pg_attribute a join pg_class c on c.oid = a.attrelid
        join pg_namespace n on n.oid = c.relnamespace where a.attnum > 0 and n.nspname !~ '^pg_|^(information_schema|auth|storage|realtime|supabase_migrations)$'
      union all select 'policy', format('%I %I %I %s %s', schemaname, tablename, policyname, qual, with_check) from pg_policies
      union all select 'type', quote_literal(enumlabel) from pg_enum
      union all select 'published', format('%I.%I', schemaname, tablename) from pg_publication_tables where pubname = 'supabase_realtime'
      union all select 'check', pg_get_constraintdef(oid) from pg_constraint where contype = 'c'
      order by 1, 2"""
    assert rows(there, objects) == rows(url, objects)


# -- the spelling itself ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", hostile.NAMES)
def test_the_printable_sql_means_the_same(stack: LocalStack, name: str) -> None:
    statement = f"select {_literal(name)} as {quoted(name)}"
    with psycopg.connect(stack.database_url) as connection:
        plain, spelled = (
            connection.execute(statement.encode()),
            connection.execute(printable(statement).encode()),
        )
        assert plain.fetchall() == spelled.fetchall() == [(name,)]
        assert (plain.description or [])[0].name == (spelled.description or [])[0].name == name
    assert not ODD.search(printable(statement))
    assert "\n" not in printable(statement)

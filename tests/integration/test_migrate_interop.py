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
from realtime_toolkit.errors import MigrationError
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


# -- what `supabase db push` applies, `migrate up` applies ---------------------------------------------------

APPLIED: dict[str, dict[str, str]] = {
    "a transaction around a part": {
        "a": "create table a (i int); begin; drop publication if exists p; create publication p; commit; alter publication p add table a;"
    },
    "two transactions": {"a": "begin; create table a (); commit; begin; create table b (); end;"},
    "a setting before": {
        "a": "set search_path = other; begin; create table a (); commit; create table b ();"
    },
    "a local setting": {
        "a": "begin; set local search_path = other; create table a (); commit; create table b ();",
        "b": "set local search_path = other; create table c ();",
        "c": "set local search_path = other; create table d (); begin; commit; create table e ();",
    },
    "a rollback": {"a": "create table a (); begin; create table b (); rollback; create table c ();"},
    "chains": {
        "a": "begin; create table a (); commit and chain; create table b (); rollback and chain; create table c (); commit"
    },
    "begin in begin": {
        "a": "begin; create table a (); begin; create table b (); commit; create table c (); commit"
    },
    "words of their own": {
        "a": "start transaction isolation level serializable; create table a (); commit work; begin work; create table b (); end transaction"
    },
    "ends alone": {"a": "create table a (); commit;", "b": "create table b (); rollback; abort; end; -- x"},
    "savepoints": {
        "a": "begin; create table a (); savepoint s; create table b (); rollback to s; release s; commit;"
    },
    "not a begin": {
        "a": "do $$ begin perform 1; end $$; create function f() returns int language sql begin atomic select 1; end;"
    },
    "an enum in two transactions": {
        "a": "create type e as enum ('a')",
        "b": "alter type e add value 'b'; begin; create table a (e e default 'b'); commit",
    },
    "concurrently": {
        "a": "create table a (i int primary key); create index concurrently on a (i); create unique index concurrently if not exists u on a (i);"
        "reindex index concurrently a_pkey; drop index concurrently u; create table b ();"
    },
    "maintenance": {
        "a": "create table a (i int primary key); vacuum analyze a; cluster a using a_pkey; reindex table a; analyze; vacuum; cluster; create table b ();"
    },
    "a system setting": {
        "a": "alter system set work_mem = '5MB'; alter system reset work_mem; create table a ();"
    },
    "a block that commits": {
        "a": "create table a (i int); do $$ begin insert into a values (1); commit; insert into a values (2); end $$; create table b ();"
    },
    "a procedure that commits": {
        "a": "create procedure p() language plpgsql as $$ begin create table a (); commit; end $$; call p(); create table b ();"
    },
    "a partition detached": {
        "a": "create table a (i int) partition by list (i); create table b partition of a for values in (1);",
        "b": "alter table a detach partition b concurrently",
    },
    "an isolation level": {"a": "set transaction isolation level serializable; create table a ();"},
    "a copy to nobody": {"a": "create table a (); copy a to stdout; create table b ();"},
    "versions of mixed length": {
        "_1_a": "create table a ()",
        "_10_b": "create table b ()",
        "_9_c": "alter table b add i int",
    },
    "nothing": {"a": "", "b": "-- x", "c": ";;;"},
    "layout": {
        "a": "\ufeffcreate table a ();\r\n-- x\r\ncreate table b ();\r\n",
        "b": "/* c */ begin; create table c (); /* d */ commit -- e\n;",
    },
    "statement by statement": {
        "a": "-- pg-delta: transaction=false\ncreate table a (); begin; create table b (); commit; vacuum;"
    },
}
END = """
select 'relation ' || c.oid::regclass || ' ' || relkind::text || coalesce(' ' || i.indisvalid, '') from pg_class c
  left join pg_index i on i.indexrelid = c.oid where relnamespace::regnamespace::text in ('public', 'other')
union all select 'column ' || attrelid::regclass || ' ' || attname || ' ' || atttypid::regtype || coalesce(pg_get_expr(adbin, adrelid), '')
  from pg_attribute a left join pg_attrdef d on adrelid = attrelid and adnum = attnum
  where attnum > 0 and not attisdropped and attrelid in (select oid from pg_class where relnamespace::regnamespace::text in ('public', 'other'))
union all select 'function ' || oid::regprocedure from pg_proc where pronamespace = 'public'::regnamespace
union all select 'published ' || pubname || ' ' || tablename from pg_publication_tables
union all select 'publication ' || pubname from pg_publication
order by 1
"""


def end_state(dsn: str) -> list[tuple[Any, ...]]:
    made = rows(dsn, END)
    return made + [
        row
        for name in sorted(tables(dsn))
        for row in rows(dsn, f"select '{name}', t from \"{name}\" t order by 2")
    ]


@pytest.mark.parametrize("name", APPLIED)
def test_what_the_cli_applies_we_apply(
    name: str, supabase: Supabase, empty_database: str, another_database: str, directory: Path
) -> None:
    for dsn in (empty_database, another_database):
        run(dsn, "create schema other")
    for file, text in APPLIED[name].items():
        number = file[1:].partition("_")[0] if file.startswith("_") else "abc".index(file) + 1
        (directory / f"{number}_{file.rpartition('_')[2]}.sql").write_bytes(text.encode())
    supabase("db", "push")
    plan = migrate.plan(another_database, directory)
    migrate.up(another_database, directory)
    assert recorded(another_database) == recorded(empty_database)
    assert end_state(another_database) == end_state(empty_database)
    assert plan.failure is None
    assert migrate.status(another_database, directory).ok


# What both refuse: at least as little of it stays with us.
FAILING = {
    "half-way, after a transaction": "create table a (); begin; create table b (); commit; select 1/0; create table c ();",
    "half-way, after an index": "create table a (i int); create index concurrently on a (i); create table c (); select 1/0",
    "half-way, after a block that commits": "create table a (); do $$ begin commit; end $$; create table c (); select 1/0",
    "all of it": "create table a (); select 1/0",
}


@pytest.mark.parametrize("name", FAILING)
def test_what_a_failure_leaves(
    name: str, supabase: Supabase, empty_database: str, another_database: str, directory: Path
) -> None:
    write(directory, a=FAILING[name])
    with pytest.raises(AssertionError, match="division by zero"):
        supabase("db", "push")
    with pytest.raises(MigrationError, match="division by zero"):
        migrate.up(another_database, directory)
    assert recorded(another_database) == recorded(empty_database) == []
    assert set(end_state(another_database)) <= set(end_state(empty_database))
    write(directory, _1_a=FAILING[name].replace("1/0", "1"))
    migrate.up(another_database, directory)  # goes on where it stopped, or anew: either way once
    assert migrate.status(another_database, directory).ok


SEEDS = "select path, hash from supabase_migrations.seed_files order by path"


def test_seeds_as_the_cli_runs_them(
    supabase: Supabase,
    empty_database: str,
    another_database: str,
    project: Path,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def both() -> migrate.UpResult:
        supabase("db", "push", "--include-seed")
        done = migrate.up(another_database, directory, include_seed=True)
        assert rows(another_database, "select * from a") == rows(empty_database, "select * from a")
        assert rows(another_database, SEEDS) == rows(empty_database, SEEDS)
        return done

    monkeypatch.setenv("THE_SEED", "unset")
    home = project / "supabase"
    (home / "seeds" / "sub").mkdir(parents=True)
    (home / ".env").write_text("OWN_SEED=./own.sql\n")
    (home / "config.toml").write_text(
        'project_id = "x"\n[db.seed]\nenabled = "env(NO_SUCH)"\n'.replace('"env(NO_SUCH)"', "false")
        + 'sql_paths = ["./seeds/[ab].sql", "seeds/sub", "./none*.sql", "env(OWN_SEED)", "../outside.sql", "seeds/*.sql"]\n'
    )
    write(
        directory,
        a="create schema other; create table a (i int); create table other.a (i int); set search_path = other;",
    )
    for number, name in enumerate(
        ("seeds/b.sql", "seeds/a.sql", "seeds/sub/d.sql", "own.sql", "../outside.sql", "seeds/z.sql")
    ):
        (home / name).write_text(f"insert into a values ({number}); select 'a;b';")
    (home / "seeds" / "sub" / "left.txt").write_text("no SQL")
    made = both()
    assert made.seeds[:3] == ("supabase/seeds/a.sql", "supabase/seeds/b.sql", "supabase/seeds/sub/d.sql")
    assert rows(another_database, "select i from other.a") == [(1,), (0,), (2,), (3,), (4,), (5,)]
    (home / "own.sql").write_text("insert into a values (7)")
    (home / "seeds" / "c.sql").write_text(
        "begin; insert into public.a values (8); commit; insert into public.a values (9);"
    )
    assert both().seeds == ("supabase/seeds/c.sql",)
    assert both().seeds == ()


def test_roles_as_the_cli_makes_them(
    supabase: Supabase, empty_database: str, another_database: str, project: Path, directory: Path
) -> None:
    """Roles are of the whole server, so the file is one that may run twice."""
    write(directory, a="create table a (); grant select on a to pg_monitor; create table b ();")
    (project / "supabase" / "roles.sql").write_text(
        "alter database current_db set search_path = other;".replace(
            "current_db", database_of(empty_database)
        )
    )
    supabase("db", "push", "--include-roles")
    (project / "supabase" / "roles.sql").write_text(
        "alter database current_db set search_path = other;".replace(
            "current_db", database_of(another_database)
        )
    )
    migrate.up(another_database, directory, include_roles=True)
    settings = "select setconfig from pg_db_role_setting s join pg_database d on d.oid = setdatabase where datname = current_database()"
    assert rows(another_database, settings) == rows(empty_database, settings) != []
    assert recorded(another_database) == recorded(empty_database)


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

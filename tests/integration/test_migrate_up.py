"""``migrate up`` and ``status`` on a database of their own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import psycopg
import pytest

from realtime_toolkit import migrate
from realtime_toolkit.errors import ConfigError, InputError, MigrationError, Unauthorized, Unreachable
from realtime_toolkit.migrate import State
from tests.integration.migrating import Once, recorded, rows, run, tables, write

if TYPE_CHECKING:
    from pathlib import Path


def states(dsn: str, directory: Path) -> list[State]:
    return [entry.state for entry in migrate.status(dsn, directory).entries]


def test_files_are_applied_in_order_and_once(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="create table a (i int); insert into a values (1);", b="insert into a values (2)")
    first = migrate.up(empty_database, tmp_path)
    assert (first.applied, first.already) == (("00000000000001_a.sql", "00000000000002_b.sql"), 0)
    write(tmp_path, c="insert into a values (3)")
    second = migrate.up(empty_database, tmp_path)
    assert (second.applied, second.already) == (("00000000000003_c.sql",), 2)
    assert migrate.up(empty_database, tmp_path).applied == ()
    assert rows(empty_database, "select i from a order by i") == [(1,), (2,), (3,)]
    assert migrate.status(empty_database, tmp_path).ok


def test_the_history_is_what_the_supabase_cli_writes(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="-- first\ncreate table a();\n\n-- tail\n", b="")
    migrate.apply_all(empty_database, tmp_path)
    assert recorded(empty_database) == [
        ("00000000000001", "a", ["-- first\ncreate table a()", "-- tail"]),
        ("00000000000002", "b", []),
    ]


def test_status_changes_nothing(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="create table a()")
    report = migrate.status(empty_database, tmp_path)
    assert (report.ok, report.blocked, [e.version for e in report.pending]) == (
        False,
        False,
        ["00000000000001"],
    )
    assert rows(empty_database, "select to_regnamespace('supabase_migrations')") == [(None,)]


FAILURES = {
    "a wrong value": (
        "create table b (i int);\n\n-- why\ninsert into b\nvalues ('x');",
        r"00000000000002_b\.sql:5: statement 2 \(insert into b values \('x'\)\): "
        r'invalid input syntax for type integer: "x" \(22P02\); nothing of this file was applied',
    ),
    "a syntax error": (
        "create table b (\n i int,,\n j int)",
        r'_b\.sql:2: statement 1 \(create .*\): syntax error at or near "," \(42601\); nothing',
    ),
    "an error within a block": (
        "create table b();\ndo $$\nbegin\n raise exception 'no %', 1;\nend $$",
        r"_b\.sql:2: statement 2 \(do .*\): no 1 \(P0001\); PL/pgSQL function .* line 3 at RAISE; nothing",
    ),
    "a constraint at the commit": (
        "create table b (i int primary key, j int references b deferrable initially deferred);"
        "insert into b values (1, 2);",
        r"_b\.sql, at the end of the transaction: .*violates foreign key.*Key \(j\)=\(2\).*; nothing",
    ),
    "what cannot be in a transaction, in one": (
        "begin;\ncreate table b();\nvacuum b; commit",
        r"_b\.sql:3: statement 3 \(vacuum b\): VACUUM cannot run .*cannot stand between BEGIN and COMMIT; nothing",
    ),
    "a commit within a block within a transaction": (
        "begin; create table b(); do $$ begin commit; end $$; commit",
        r"invalid transaction termin.*; nothing",
    ),
    "a row of COPY": (
        "create table b (i int);\ncopy b from stdin;\n1\nx\n\\.\n",
        r'_b\.sql:4: statement 2 \(copy b from stdin;\): invalid input syntax for type integer: "x" \(22P02\); COPY b, line 2.*',
    ),
    "one of many that go together": (
        "create table b (i int);\n"
        + "insert into b values (1);\n" * 700
        + "insert into b values (1/0);\nselect 1;",
        r"_b\.sql:702: statement 702 \(insert into b values \(1/0\)\): division by zero",
    ),
    "a new value of an enum that is used": (
        "create type e as enum ('a'); alter type e add value 'b'; alter table a add e e default 'c'",
        r"invalid input value for enum e",
    ),
    "a dump's default privileges": (
        "create role dumped_owner; alter default privileges for role no_such_one grant all on tables to public",
        r"does not exist \(42704\); nothing",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_file_that_fails_leaves_nothing(name: str, empty_database: str, tmp_path: Path) -> None:
    sql, message = FAILURES[name]
    write(tmp_path, a="create table a()", b=sql, c="create table c()")
    with pytest.raises(MigrationError, match=message) as raised:
        migrate.up(empty_database, tmp_path)
    assert "\n" not in str(raised.value)
    assert tables(empty_database) == {"a"}
    assert states(empty_database, tmp_path) == [State.APPLIED, State.PENDING, State.PENDING]
    assert rows(empty_database, "select count(*) from pg_locks where locktype = 'advisory'") == [(0,)]


REFUSED = {
    "a chain of nothing": ("create table b();\ncommit and chain;", r"_b\.sql:2: COMMIT does not fit here"),
    "a prepared transaction": ("begin; prepare transaction 'x'", r"_b\.sql:1: PREPARE does not fit"),
    "begin alone": ("begin; select 1", r"_b\.sql:1: BEGIN without COMMIT"),
    "begin again": ("begin; select 1; commit and chain; select 2", r"_b\.sql:1: BEGIN without COMMIT"),
    "copy without an end": (
        "create table b();\ncopy b from stdin;\n",
        r"_b\.sql:2: the rows of this COPY have no end",
    ),
    "binary copy": ("copy b from stdin (format binary);\n\\.", r"_b\.sql:1: COPY in binary format"),
    "rows beside their copy": (
        "copy b from stdin; select 1;\n\\.",
        r"_b\.sql:1: the rows of COPY begin in the line after",
    ),
    "psql": ("\\connect x\nselect 1;", r"_b\.sql:2: \\connect is a command of psql's"),
    "nul": ("select 1;\nselect 'a\0b'", r"_b\.sql:2: a NUL character"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_migration_can_contain_is_refused_before_anything_runs(
    name: str, empty_database: str, tmp_path: Path
) -> None:
    sql, message = REFUSED[name]
    write(tmp_path, a="create table a()", b=sql)
    with pytest.raises(MigrationError, match=message):
        migrate.up(empty_database, tmp_path)
    assert tables(empty_database) == set()


def test_begin_and_commit_around_a_whole_file_are_the_runners(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="-- all of it\nbegin;\ncreate table a();\nsavepoint x; rollback to x;\ncommit; -- done")
    migrate.up(empty_database, tmp_path)
    write(tmp_path, b="start transaction; create table b(); select 1/0; end;")
    with pytest.raises(MigrationError, match="division by zero"):
        migrate.up(empty_database, tmp_path)
    assert tables(empty_database) == {"a"}
    assert len(recorded(empty_database)[0][2]) == 6


def test_a_setting_of_one_file_does_not_reach_the_next(empty_database: str, tmp_path: Path) -> None:
    write(
        tmp_path,
        a="create schema other; set search_path = other; select set_config('lock_timeout', '1s', false);"
        "set standard_conforming_strings = off; create table a(); set role pg_monitor;",
        b=r"create table b (t text); insert into b values ('\'), (current_setting('lock_timeout')),"
        "(current_setting('client_connection_check_interval'));",
    )
    migrate.up(empty_database, tmp_path, lock_timeout=2.5)
    assert tables(empty_database) == {"b"}
    assert rows(empty_database, "select t from b") == [("\\",), ("2500ms",), ("5s",)]


def test_a_lost_connection_leaves_nothing(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="create table a(); select pg_terminate_backend(pg_backend_pid());")
    with pytest.raises((MigrationError, Unreachable), match=r"00000000000001_a\.sql"):
        migrate.up(empty_database, tmp_path)
    assert tables(empty_database) == set()
    assert states(empty_database, tmp_path) == [State.PENDING]


# -- what does not fit --------------------------------------------------------------------------------


def test_out_of_order_is_refused_with_the_way_out(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, _2_b="create table b()")
    migrate.up(empty_database, tmp_path)
    write(tmp_path, _1_a="create table a()", _3_c="create table c()")
    with pytest.raises(MigrationError, match=r"00000000000001_a\.sql; .*migrate up --include-all"):
        migrate.up(empty_database, tmp_path)
    assert tables(empty_database) == {"b"}
    assert states(empty_database, tmp_path) == [State.OUT_OF_ORDER, State.APPLIED, State.PENDING]
    assert migrate.up(empty_database, tmp_path, include_all=True).applied == (
        "00000000000001_a.sql",
        "00000000000003_c.sql",
    )


def test_cosmetic_and_semantic_edits_are_told_apart(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, _1_a="create table a(i int)", _2_b="create table b(i int)")
    migrate.up(empty_database, tmp_path)
    write(tmp_path, _1_a="-- A\nCREATE TABLE a(i  int);\r\n", _3_c="create table c()")
    assert states(empty_database, tmp_path) == [State.REFORMATTED, State.APPLIED, State.PENDING]
    migrate.up(empty_database, tmp_path)
    write(tmp_path, _2_b="create table b(i bigint)", _4_d="create table d()")
    assert states(empty_database, tmp_path)[1] is State.EDITED
    report = migrate.status(empty_database, tmp_path)
    assert (report.ok, report.blocked) == (False, False)
    notice = Once()
    migrate.up(empty_database, tmp_path, notice=notice)
    assert tables(empty_database) == {"a", "b", "c", "d"}
    assert "the database has: 00000000000002_b.sql; put the change into a new migration" in notice
    assert "repair --status applied 00000000000002" in notice


def test_a_version_without_its_file_is_refused(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="create table a()", b="create table b()")
    migrate.up(empty_database, tmp_path)
    (tmp_path / "00000000000002_b.sql").unlink()
    write(tmp_path, _3_c="create table c()")
    assert states(empty_database, tmp_path) == [State.APPLIED, State.MISSING, State.PENDING]
    with pytest.raises(MigrationError, match="repair --status reverted 00000000000002"):
        migrate.up(empty_database, tmp_path)


def test_an_old_history_of_versions_alone_will_do(empty_database: str, tmp_path: Path) -> None:
    run(
        empty_database,
        "create schema supabase_migrations; "
        "create table supabase_migrations.schema_migrations (version text primary key); "
        "insert into supabase_migrations.schema_migrations values ('00000000000001')",
    )
    write(tmp_path, a="create table a()", b="create table b()")
    assert migrate.up(empty_database, tmp_path).applied == ("00000000000002_b.sql",)
    assert [row[2] for row in recorded(empty_database)] == [None, ["create table b()"]]


def test_versions_that_sort_otherwise_as_text(empty_database: str, tmp_path: Path) -> None:
    files = {
        "20240101120000_a.sql": "create table public.c (id int)",
        "20240302_b.sql": "alter table public.c add b int",
        "20240401000000_c.sql": "alter table public.c add d int",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    notice = Once()
    assert migrate.up(empty_database, tmp_path, notice=notice).applied == tuple(files)
    assert "20240101120000_a.sql, 20240302_b.sql: the versions apply in the order of their text" in notice
    report = migrate.status(empty_database, tmp_path)
    assert (report.problems[0].code, report.ok) == ("text_order", True)


def test_a_target_is_the_last_file(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="create table a()", b="create table b()", c="create table c()")
    assert len(migrate.up(empty_database, tmp_path, target="00000000000002").applied) == 2
    assert tables(empty_database) == {"a", "b"}
    with pytest.raises(InputError, match="no migration has version 7"):
        migrate.up(empty_database, tmp_path, target="7")


# -- without a usable database ------------------------------------------------------------------------


NOWHERE = "postgresql://postgres:secret@127.0.0.1:1/postgres"


def test_duplicates_are_refused_before_connecting(tmp_path: Path) -> None:
    (tmp_path / "1_a.sql").touch()
    (tmp_path / "1_b.sql").touch()
    with pytest.raises(MigrationError, match=r"version 1 is used by 2 files: 1_a\.sql, 1_b\.sql"):
        migrate.up(NOWHERE, tmp_path)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1/postgres") as raised:
        migrate.up(NOWHERE, tmp_path)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_the_wrong_password_and_the_wrong_database(empty_database: str, tmp_path: Path) -> None:
    parts = psycopg.conninfo.conninfo_to_dict(empty_database)
    wrong = psycopg.conninfo.make_conninfo(empty_database, dbname="no such")
    with pytest.raises(ConfigError, match=re.escape('database "no such" does not exist')):
        migrate.status(wrong, tmp_path)
    if parts.get("password"):
        with pytest.raises(Unauthorized, match="password authentication failed"):
            migrate.status(psycopg.conninfo.make_conninfo(empty_database, password="nonsense"), tmp_path)


def test_a_read_only_database_says_so(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="create table a()")
    frozen = psycopg.conninfo.make_conninfo(empty_database, options="-c default_transaction_read_only=on")
    with pytest.raises(MigrationError, match="read-only transaction"):
        migrate.up(frozen, tmp_path)

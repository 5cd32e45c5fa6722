"""What pg_dump writes, as a migration; roles and seeds for the local stack. Beside the CLI: test_migrate_interop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from realtime_toolkit import migrate
from realtime_toolkit.errors import ConfigError, MigrationError
from tests.integration.migrating import Once, recorded, rows, run, tables, write

if TYPE_CHECKING:
    from pathlib import Path

DUMP = r"""--
-- PostgreSQL database dump
--
\restrict aBcDeFgH123
SET statement_timeout = 0;
SET transaction_timeout = 0;
SELECT pg_catalog.set_config('search_path', '', false);
CREATE TABLE public.c (id integer NOT NULL, t text);
CREATE PUBLICATION "supabase_realtime_messages_publication" WITH (publish = 'insert, update, delete, truncate');
COPY public.c (id, t) FROM stdin;
1	it's; one
2	\N
\.

COPY public.c (id, t) FROM STDIN WITH (FORMAT csv, HEADER);
id,t
3,"a
\b; ""quoted"" x"
\.
COPY public.c FROM stdin;
\.
ALTER TABLE ONLY public.c ADD CONSTRAINT c_pkey PRIMARY KEY (id);
\unrestrict aBcDeFgH123
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_dump_is_a_migration(newline: str, empty_database: str, tmp_path: Path) -> None:
    run(empty_database, "create publication supabase_realtime_messages_publication")
    write(tmp_path)
    (tmp_path / "1_a.sql").write_bytes(DUMP.replace("\n", newline).encode())
    assert migrate.plan(empty_database, tmp_path).failure is None
    notice = Once()
    migrate.up(empty_database, tmp_path, notice=notice)
    assert "left out: publication supabase_realtime_messages_publication is there already" in notice
    lines = (f'a{newline}\\b; "quoted" x',)
    assert rows(empty_database, "select t from public.c order by id") == [("it's; one",), (None,), lines]
    ((_, _, statements),) = recorded(empty_database)
    assert len(statements) == 10
    assert (
        statements[5] == f"COPY public.c (id, t) FROM stdin;{newline}1\tit's; one{newline}2\t\\N{newline}\\."
    )
    assert migrate.status(empty_database, tmp_path).ok


def test_many_rows(empty_database: str, tmp_path: Path) -> None:
    data = "".join(f"{number}\té{number}\n" for number in range(200_000))
    write(tmp_path, a=f"create table a (i int, t text);\ncopy a from stdin;\n{data}\\.\n")
    migrate.up(empty_database, tmp_path)
    assert rows(empty_database, "select count(*), max(t) from a") == [(200_000, "é99999")]


def test_a_setting_that_a_server_lacks_is_left_out_where_it_lacks_it(
    empty_database: str, tmp_path: Path
) -> None:
    write(
        tmp_path,
        a="set transaction_timeout = '7min'; create table a (t text); set local transaction_timeout = 0;",
    )
    notice = Once()
    migrate.up(empty_database, tmp_path, notice=notice)
    lacks = rows(empty_database, "select current_setting('server_version_num')::int < 170000") == [(True,)]
    assert ("left out: this Postgres has no transaction_timeout" in notice) is lacks
    write(tmp_path, b="set transaction_timeouts = 0")
    with pytest.raises(MigrationError, match="a setting of another version of Postgres: leave it out"):
        migrate.up(empty_database, tmp_path)


ADVICE = {
    "a schema that is there": ("create schema public", "write CREATE SCHEMA IF NOT EXISTS"),
    "a publication of tables": (
        "create publication supabase_realtime for all tables",
        "already exists .* write ALTER PUBLICATION … ADD TABLE",
    ),
    "a type out of sight": ("create table a (c citext_)", "name its schema: extensions.citext_"),
    "a psql command": ("select 1 \\gexec", "a backslash command is psql's"),
    "a new enum value": (
        "alter type e add value 'b'; create table a (e e default 'b')",
        "add the value in a migration before this one",
    ),
}


@pytest.mark.parametrize("name", ADVICE)
def test_what_to_do_about_it(name: str, empty_database: str, tmp_path: Path) -> None:
    sql, message = ADVICE[name]
    run(empty_database, "create publication supabase_realtime; create type e as enum ('a')")
    write(tmp_path, a=sql)
    with pytest.raises(MigrationError, match=message) as raised:
        migrate.up(empty_database, tmp_path)
    assert "\n" not in str(raised.value)
    assert tables(empty_database) == set()


# -- the whole project --------------------------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return write(tmp_path / "supabase" / "migrations", a="create table a (t text)")


def test_the_stack_applies_roles_and_seeds_once(empty_database: str, directory: Path) -> None:
    beside = directory.parent
    (beside / "roles.sql").write_text(
        "create role pg_database_owner; create table r ();".replace("pg_database_owner", "postgres")
    )
    (beside / "seed.sql").write_text("insert into a values ('seeded')")
    assert migrate.apply_all(empty_database, directory).seeds == ("supabase/seed.sql",)
    assert migrate.apply_all(empty_database, directory).seeds == ()
    assert rows(empty_database, "select t from a") == [("seeded",)]
    assert tables(empty_database) == {"a", "r"}


def test_a_seed_that_is_not_enabled_is_left_to_who_asks_for_it(
    empty_database: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory.parent / "config.toml").write_text("[db.seed]\nenabled = false\n")
    (directory.parent / "seed.sql").write_text("insert into a values ('x');\ninsert into b values (1)")
    assert migrate.apply_all(empty_database, directory).seeds == ()
    with pytest.raises(MigrationError, match=r"seed\.sql:2: statement 2 .* nothing of this file was applied"):
        migrate.up(empty_database, directory, include_seed=True)
    assert rows(empty_database, "select t from a") == []
    monkeypatch.setenv("SUPABASE_DB_SEED_ENABLED", "maybe")
    with pytest.raises(ConfigError, match="neither true nor false: maybe"):
        migrate.up(empty_database, directory)


def test_what_a_prepared_database_is_made_of(directory: Path) -> None:
    made = [migrate.inputs(directory)]
    for name, text in (
        ("seed.sql", "select 1"),
        ("seed.sql", "select 2"),
        ("roles.sql", ""),
        ("config.toml", "[db.seed]\nenabled=false"),
    ):
        (directory.parent / name).write_text(text)
        made.append(migrate.inputs(directory))
    assert len(set(made)) == len(made)
    assert migrate.inputs(migrate.packaged_migrations().parent) == b""

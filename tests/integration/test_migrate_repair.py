"""``migrate repair`` and ``migrate baseline``: the history put right, nothing run."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from realtime_toolkit import migrate
from realtime_toolkit.errors import InputError, MigrationError
from tests.integration.migrating import recorded, rows, run, tables, write

if TYPE_CHECKING:
    from pathlib import Path

FIRST, SECOND, THIRD = (f"{number:014}" for number in (1, 2, 3))


def test_versions_are_recorded_and_struck_off(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="create table a() -- x", b="create table b()")
    done = migrate.repair(empty_database, tmp_path, [FIRST, SECOND], status="applied")
    assert (done.versions, done.unchanged) == ((FIRST, SECOND), ())
    assert recorded(empty_database)[0] == (FIRST, "a", ["create table a() -- x"])
    assert tables(empty_database) == set()
    assert migrate.status(empty_database, tmp_path).ok
    assert migrate.repair(empty_database, tmp_path, [FIRST], status="applied").unchanged == (FIRST,)
    undone = migrate.repair(empty_database, tmp_path, [SECOND, THIRD], status="reverted")
    assert (undone.versions, undone.unchanged) == ((SECOND,), (THIRD,))
    assert [row[0] for row in recorded(empty_database)] == [FIRST]


def test_an_accepted_edit(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="create table a()")
    migrate.up(empty_database, tmp_path)
    write(tmp_path, _1_a="create table a(i int)")
    migrate.repair(empty_database, tmp_path, [FIRST], status="applied")
    assert migrate.status(empty_database, tmp_path).ok


def test_what_cannot_be_repaired(empty_database: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"has version {THIRD}"):
        migrate.repair(empty_database, tmp_path, [THIRD], status="applied")
    with pytest.raises(InputError, match="name the versions"):
        migrate.repair(empty_database, tmp_path, [], status="reverted")
    assert rows(empty_database, "select to_regnamespace('supabase_migrations')") == [(None,)]


def test_baseline_fetches_the_files_that_only_the_history_has(empty_database: str, tmp_path: Path) -> None:
    sql = "-- a\ncreate table a(); do $$ begin; end; $$ -- b\n; select 1 -- last\n;-- end;"
    there = write(tmp_path / "there", a=sql, b="", c="create table c()")
    with pytest.raises(MigrationError):
        migrate.up(empty_database, there)
    write(there, _1_a=sql.replace("begin;", "begin"))
    migrate.up(empty_database, there)
    here = write(tmp_path / "here", _3_c="create table c()")
    done = migrate.baseline(empty_database, here)
    assert done.fetched == (f"{FIRST}_a.sql", f"{SECOND}_b.sql")
    assert migrate.status(empty_database, here).ok
    assert [entry.state for entry in migrate.status(empty_database, here).entries] == ["applied"] * 3
    assert migrate.baseline(empty_database, here).fetched == ()


def test_baseline_records_files_up_to_a_version(empty_database: str, tmp_path: Path) -> None:
    run(empty_database, "create table a()")
    write(tmp_path, a="create table a()", b="create table a2()", c="create table c()")
    assert migrate.baseline(empty_database, tmp_path, version=SECOND).recorded == (
        f"{FIRST}_a.sql",
        f"{SECOND}_b.sql",
    )
    assert migrate.up(empty_database, tmp_path).applied == (f"{THIRD}_c.sql",)
    assert tables(empty_database) == {"a", "c"}
    with pytest.raises(InputError, match="has version 7"):
        migrate.baseline(empty_database, tmp_path, version="7")


SCHEMA = """
create schema auth; create table auth.users (id uuid primary key); create schema "the shop";
create publication supabase_realtime;
create table public.profiles (id uuid primary key references auth.users, name text default 'a;b');
alter table public.profiles enable row level security;
create policy own on public.profiles for select to pg_monitor using (name <> 'x;y');
create function public.made() returns trigger language plpgsql as $$ begin insert into public.profiles values (new.id); return new; end $$;
create trigger made after insert on auth.users for each row execute function public.made();
alter table auth.users enable row level security;
create policy "see; own" on auth.users as restrictive for update to public using (true) with check (id is not null);
create table "the shop".orders (id bigint generated always as identity primary key);
alter publication supabase_realtime add table public.profiles, "the shop".orders;
insert into auth.users values ('00000000-0000-0000-0000-000000000001');
"""
WHAT = """
select 'table ' || schemaname || tablename || rowsecurity from pg_tables
  where schemaname not in ('pg_catalog', 'information_schema', 'supabase_migrations')
union all select 'policy ' || policyname || permissive || cmd || roles::text || coalesce(qual, '') || coalesce(with_check, '')
  from pg_policies
union all select 'trigger ' || pg_get_triggerdef(oid) from pg_trigger where not tgisinternal
union all select 'published ' || schemaname || tablename from pg_publication_tables
union all select 'column ' || attrelid::regclass || attname || atttypid::regtype || attnotnull from pg_attribute
  where attnum > 0 and attrelid in (select oid from pg_class where relnamespace::regnamespace::text in ('public', '"the shop"'))
order by 1
"""


def test_baseline_makes_the_schema_itself_the_first_migration(
    empty_database: str, another_database: str, tmp_path: Path
) -> None:
    """What it wrote, run on a database with Supabase's own part alone, makes the same schema."""
    run(empty_database, SCHEMA)
    write(tmp_path, _20260101000000_ours="create table public.later()")
    done = migrate.baseline(empty_database, tmp_path, dump=True)
    assert done.dumped == "20251231235959_baseline.sql"
    report = migrate.status(empty_database, tmp_path)
    assert [entry.state for entry in report.entries] == ["applied", "pending"]

    run(another_database, re.split(r"create table public|create schema \"", SCHEMA)[0])
    run(
        another_database,
        "create publication supabase_realtime; alter table auth.users enable row level security",
    )
    (tmp_path / "20260101000000_ours.sql").unlink()
    migrate.up(another_database, tmp_path)
    assert rows(another_database, WHAT) == rows(empty_database, WHAT)
    assert rows(another_database, "select * from public.profiles") == []
    with pytest.raises(MigrationError, match="has a migration history already"):
        migrate.baseline(another_database, tmp_path, dump=True)

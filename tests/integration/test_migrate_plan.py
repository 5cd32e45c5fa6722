"""``migrate plan``: what would happen, found by doing it and rolling it back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from realtime_toolkit import migrate
from realtime_toolkit.errors import InputError, MigrationError
from realtime_toolkit.migrate import Lock, PlannedStatement
from tests.integration.migrating import NO_TRANSACTION, recorded, rows, run, tables, write

if TYPE_CHECKING:
    from pathlib import Path


def planned(dsn: str, directory: Path) -> list[PlannedStatement]:
    return [statement for file in migrate.plan(dsn, directory).files for statement in file.statements]


@pytest.mark.parametrize(
    ("sql", "locks"),
    [
        ("create table b (i int)", []),
        ("select * from a", [("public.a", "AccessShareLock", "")]),
        ("insert into a values (1)", [("public.a", "RowExclusiveLock", "")]),
        ("create index on a (j)", [("public.a", "ShareLock", "writes")]),
        ("alter table a add k int", [("public.a", "AccessExclusiveLock", "reads and writes")]),
        ("alter table a validate constraint positive", [("public.a", "ShareUpdateExclusiveLock", "")]),
        ("create table b (i int references a)", [("public.a", "ShareRowExclusiveLock", "writes")]),
        ("comment on table a is 'x'", [("public.a", "ShareUpdateExclusiveLock", "")]),
        ("alter index a_pkey rename to k", [("public.a_pkey", "ShareUpdateExclusiveLock", "")]),
    ],
)
def test_the_locks_of_a_statement(
    sql: str, locks: list[tuple[str, str, str]], empty_database: str, tmp_path: Path
) -> None:
    run(empty_database, "create table a (i int primary key, j int)")
    run(empty_database, "alter table a add constraint positive check (j > 0) not valid")
    write(tmp_path, a=sql)
    (statement,) = planned(empty_database, tmp_path)
    strongest = [lock for lock in statement.locks if lock.mode != "AccessShareLock"] or list(statement.locks)
    assert set(locks) <= {(lock.relation, lock.mode, lock.blocks) for lock in statement.locks}
    assert {lock.relation for lock in strongest} <= {relation for relation, _, _ in locks}
    assert statement.milliseconds is not None


def test_nothing_stays(empty_database: str, tmp_path: Path) -> None:
    run(empty_database, "create table a (i int)")
    write(tmp_path, a="alter table a add j int; create table b();", b="insert into a values (1, 2)")
    plan = migrate.plan(empty_database, tmp_path)
    assert (plan.ok, plan.rehearsed) == (True, True)
    assert [file.file for file in plan.files] == ["00000000000001_a.sql", "00000000000002_b.sql"]
    assert (tables(empty_database), rows(empty_database, "select * from a")) == ({"a"}, [])
    assert migrate.status(empty_database, tmp_path).pending
    json.dumps(plan.as_dict())


def test_locks_are_told_where_they_are_first_taken(empty_database: str, tmp_path: Path) -> None:
    run(empty_database, "create table a (i int)")
    write(tmp_path, a="alter table a add j int; -- again\nalter table a add k int;")
    first, second = planned(empty_database, tmp_path)
    assert first.locks == (Lock("public.a", "AccessExclusiveLock", "reads and writes"),)
    assert (second.locks, second.line, second.sql) == ((), 2, "-- again\nalter table a add k int")


def test_a_rewrite_is_told(empty_database: str, tmp_path: Path) -> None:
    run(empty_database, "create table a (i int primary key); create table b (i int)")
    write(tmp_path, a="alter table a alter i type bigint; alter table b add j int not null default 0;")
    first, second = planned(empty_database, tmp_path)
    assert first.rewrites == ("public.a",)
    assert second.rewrites == ()


def test_what_would_fail_is_told_and_the_rest_is_still_shown(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="create table a();\ncreate table a(); create table b();", b="create table c();")
    plan = migrate.plan(empty_database, tmp_path)
    assert not plan.ok
    assert plan.failure is not None
    assert plan.failure.startswith(
        '00000000000001_a.sql:2: statement 2 (create table a()): relation "a" already'
    )
    times = [statement.milliseconds is not None for file in plan.files for statement in file.statements]
    assert times == [True, True, False, False]


def test_what_runs_outside_a_transaction_is_rehearsed_in_its_transactional_form(
    empty_database: str, tmp_path: Path
) -> None:
    run(empty_database, "create table a (i int)")
    sql = "vacuum a; create unique index concurrently i_a on a (i); alter table a add primary key using index i_a;"
    write(tmp_path, a=NO_TRANSACTION + sql.replace("add primary", "alter i set not null, add primary"))
    vacuum, index, key = planned(empty_database, tmp_path)
    assert vacuum.note == "runs outside a transaction"
    assert index.note is not None
    assert "ShareUpdateExclusiveLock" in index.note
    assert Lock("public.a", "AccessExclusiveLock", "reads and writes") in key.locks
    write(tmp_path, _1_a="vacuum")
    (file,) = migrate.plan(empty_database, tmp_path).files
    assert (file.transactional, file.statements[0].note) == (False, "runs outside a transaction")
    write(tmp_path, _1_a="begin; vacuum; commit")
    assert "VACUUM cannot run inside a transaction block" in (
        migrate.plan(empty_database, tmp_path).failure or ""
    )


def test_a_lock_among_many_statements_is_told_where_it_is_taken(empty_database: str, tmp_path: Path) -> None:
    run(empty_database, "create table a (i int)")
    made = [f"create table t{n} (i int);\n" for n in range(600)]
    made.insert(300, "alter table a add j int;\n")
    write(tmp_path, a="".join(made), b="alter table a alter i type bigint;\ninsert into a values (1)")
    statements = planned(empty_database, tmp_path)
    assert [s.line for s in statements[:601] if s.locks] == [301]
    assert [s.sql for s in statements if s.rewrites] == ["alter table a alter i type bigint"]
    assert all(s.milliseconds is not None for s in statements)


def test_what_a_file_takes_back_is_taken_back(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="begin; create table a(); rollback; create table a();", b="copy a from stdin;\n\\.\n")
    assert migrate.plan(empty_database, tmp_path).failure is None


def test_files_that_commit_apart_do_not_trip_over_each_other(empty_database: str, tmp_path: Path) -> None:
    write(
        tmp_path,
        a="create type mood as enum ('a'); create table p (i int primary key);"
        "create table c (i int references p deferrable initially deferred);",
        b="insert into c values (1); insert into p values (1);",
        c="alter table c add j int",
        d="alter type mood add value 'b'",
        e="create table m (m mood default 'b')",
    )
    migrate.up(empty_database, tmp_path, target="00000000000001")
    plan = migrate.plan(empty_database, tmp_path)
    assert plan.ok
    assert plan.files[-1].statements[0].note is not None
    assert len(migrate.up(empty_database, tmp_path).applied) == 4


def test_on_another_database_that_is_still_empty(
    empty_database: str, another_database: str, tmp_path: Path
) -> None:
    """The target has the first file already; it is applied where the second is rehearsed."""
    write(tmp_path, a="create table a (i int)", b="alter table a add j int")
    migrate.up(empty_database, tmp_path, target="00000000000001")
    (file,) = migrate.plan(empty_database, tmp_path, rehearse_on=another_database).files
    assert file.version == "00000000000002"
    assert file.statements[0].locks == (Lock("public.a", "AccessExclusiveLock", "reads and writes"),)
    columns = "select attname from pg_attribute where attrelid = 'a'::regclass and attnum > 0"
    assert [rows(dsn, columns) for dsn in (empty_database, another_database)] == [[("i",)]] * 2
    migrate.up(another_database, tmp_path)
    with pytest.raises(InputError, match=r"has 00000000000002_b\.sql already"):
        migrate.plan(empty_database, tmp_path, rehearse_on=another_database)


def test_a_remote_database_is_only_rehearsed_on_request(
    empty_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert migrate.is_local(empty_database)
    assert not migrate.is_local("postgresql://db.example.com/postgres")
    assert not migrate.is_local("host=127.0.0.1,db.example.com")
    monkeypatch.setattr("realtime_toolkit.migrate.session.LOCAL_HOSTS", frozenset())
    write(tmp_path, a="create table a()")
    plan = migrate.plan(empty_database, tmp_path)
    assert (plan.rehearsed, plan.files[0].statements[0].sql) == (False, "create table a()")
    assert migrate.plan(empty_database, tmp_path, allow_remote=True).rehearsed


def test_what_up_would_refuse_the_plan_refuses(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, _2_b="select 1")
    migrate.up(empty_database, tmp_path)
    write(tmp_path, _1_a="select 1")
    with pytest.raises(MigrationError, match="--include-all"):
        migrate.plan(empty_database, tmp_path)
    assert len(migrate.plan(empty_database, tmp_path, include_all=True).files) == 1
    assert len(recorded(empty_database)) == 1

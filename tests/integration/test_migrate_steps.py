"""Files without a transaction: each step once, whatever interrupts them."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
import pytest

from realtime_toolkit import migrate
from realtime_toolkit.errors import MigrationError
from realtime_toolkit.migrate import State
from tests.integration.migrating import NO_TRANSACTION, Once, recorded, rows, run, tables, write

if TYPE_CHECKING:
    from pathlib import Path

PROGRESS_TABLE = "select to_regclass('supabase_migrations.realtime_toolkit_progress')"
PROGRESS = "select done, attempt from supabase_migrations.realtime_toolkit_progress"
INDEXES = (
    "select indexrelid::regclass::text, indisvalid from pg_index where indexrelid::regclass::text like 'i%'"
)


def test_what_cannot_be_in_a_transaction_runs(empty_database: str, tmp_path: Path) -> None:
    sql = (
        "create table a (i int);\ncreate index concurrently i_a on a (i); vacuum a;\n"
        "do $$ begin for n in 1..3 loop insert into a values (n); commit; end loop; end $$; drop index concurrently i_a;"
    )
    write(tmp_path, a=NO_TRANSACTION + sql)
    migrate.up(empty_database, tmp_path)
    assert rows(empty_database, "select count(*) from a") == [(3,)]
    assert rows(empty_database, PROGRESS) == []
    assert [len(row[2]) for row in recorded(empty_database)] == [5]
    assert migrate.status(empty_database, tmp_path).ok


def test_a_step_that_failed_is_where_the_next_run_goes_on(empty_database: str, tmp_path: Path) -> None:
    sql = "create table a (i int); insert into a values (1), (1);\ncreate unique index concurrently i_a on a (i);"
    write(tmp_path, a=NO_TRANSACTION + sql, b="create table b()")
    with pytest.raises(
        MigrationError, match=r"_a\.sql:3: statement 3 .* statements before 3 have taken effect"
    ):
        migrate.up(empty_database, tmp_path)
    (entry, _) = migrate.status(empty_database, tmp_path).entries
    assert (entry.state, entry.done, entry.total) == (State.PARTIAL, 2, 3)
    assert recorded(empty_database) == []
    assert rows(empty_database, INDEXES) == [("i_a", False)]

    with pytest.raises(MigrationError, match="could not create unique index"):
        migrate.up(empty_database, tmp_path)
    run(empty_database, "delete from a where ctid = (select min(ctid) from a)")
    notice = Once()
    assert len(migrate.up(empty_database, tmp_path, notice=notice).applied) == 2
    assert "going on after 2 of 3 statements" in notice
    assert "dropping public.i_a, left invalid" in notice
    assert rows(empty_database, INDEXES) == [("i_a", True)]
    assert rows(empty_database, "select count(*) from a") == [(1,)]


INTERRUPTED = {
    "before it took effect": ("", True),
    "while it was building": (
        "insert into a values (1), (1);"
        "/**/create unique index concurrently i_a on a (i);"
        "/**/delete from a where ctid = (select min(ctid) from a)",
        True,
    ),
    "after it took effect": ("create unique index concurrently i_a on a (i)", True),
}


@pytest.mark.parametrize("name", INTERRUPTED)
def test_a_run_that_ended_during_a_step(name: str, empty_database: str, tmp_path: Path) -> None:
    """The history of that run is made by hand: it had begun statement 2, and died."""
    happened, valid = INTERRUPTED[name]
    sql = "create table a (i int);\ncreate unique index concurrently i_a on a (i); insert into a values (7);"
    write(tmp_path, a=NO_TRANSACTION + sql.replace("concurrently i_a on a", "concurrently i_a on nowhere"))
    with pytest.raises(MigrationError, match="nowhere"):
        migrate.up(empty_database, tmp_path)
    (tmp_path / "00000000000001_a.sql").write_text(NO_TRANSACTION + sql)
    for statement in filter(None, happened.split("/**/")):
        with suppress(psycopg.errors.UniqueViolation):  # leaves the invalid index that is wanted here
            run(empty_database, statement)
    run(empty_database, "update supabase_migrations.realtime_toolkit_progress set attempt = 'running'")
    assert rows(empty_database, PROGRESS) == [(1, "running")]

    migrate.up(empty_database, tmp_path)
    assert rows(empty_database, INDEXES) == [("i_a", valid)]
    assert rows(empty_database, "select count(*) from a where i = 7") == [(1,)]


def test_a_failed_statement_is_not_taken_for_one_that_took_effect(
    empty_database: str, tmp_path: Path
) -> None:
    write(tmp_path, a=NO_TRANSACTION + "create table a (i int, j int); create index i_a on a (j);")
    migrate.up(empty_database, tmp_path)
    write(tmp_path, b=NO_TRANSACTION + "create index concurrently i_a on a (i);")
    for _ in range(2):
        with pytest.raises(MigrationError, match="already exists"):
            migrate.up(empty_database, tmp_path)


def test_an_invalid_index_does_not_pass_by_if_not_exists(empty_database: str, tmp_path: Path) -> None:
    run(empty_database, "create table a (i int); insert into a values (1), (1)")
    with pytest.raises(Exception, match="could not create unique index"):
        run(empty_database, "create unique index concurrently i_a on a (i)")
    run(empty_database, "truncate a")
    write(tmp_path, a=NO_TRANSACTION + "create unique index concurrently if not exists i_a on a (i)")
    with pytest.raises(MigrationError, match=r"_a\.sql:2: index i_a is there but invalid"):
        migrate.up(empty_database, tmp_path)
    migrate.up(empty_database, tmp_path)
    assert rows(empty_database, INDEXES) == [("i_a", True)]


def test_settings_of_the_file_hold_again_when_it_goes_on(empty_database: str, tmp_path: Path) -> None:
    run(empty_database, "create schema other")
    sql = "set search_path = other; select set_config('a.b', 'c', false); create table a (t text);"
    write(tmp_path, a=NO_TRANSACTION + sql + "select 1/current_setting('no.such')::int;")
    with pytest.raises(MigrationError, match=r"no\.such"):
        migrate.up(empty_database, tmp_path)
    write(tmp_path, _1_a=NO_TRANSACTION + sql + "insert into a values (current_setting('a.b'));")
    migrate.up(empty_database, tmp_path)
    assert rows(empty_database, "select t from other.a") == [("c",)]


def test_begin_and_commit_make_one_step(empty_database: str, tmp_path: Path) -> None:
    sql = "create table a (i int); begin; insert into a values (1); insert into a values ('x'); commit;"
    write(tmp_path, a=NO_TRANSACTION + sql)
    with pytest.raises(MigrationError, match=r"statement 4 .*statements before 2 have taken effect"):
        migrate.up(empty_database, tmp_path)
    assert rows(empty_database, "select * from a") == []
    write(tmp_path, _1_a=NO_TRANSACTION + sql.replace("'x'", "2"))
    migrate.up(empty_database, tmp_path)
    assert rows(empty_database, "select i from a order by i") == [(1,), (2,)]


def test_a_role_taken_on_by_the_file_does_not_keep_its_progress_from_being_noted(
    empty_database: str, tmp_path: Path
) -> None:
    write(tmp_path, a=NO_TRANSACTION + "set role pg_monitor; vacuum; select 1; reset role; create table a();")
    migrate.up(empty_database, tmp_path)
    assert tables(empty_database) == {"a"}


@pytest.mark.parametrize(
    ("edited", "message"),
    [
        (
            NO_TRANSACTION + "create table other(); select 1/0;",
            "its first 1 statements have run already and were edited",
        ),
        ("create table a(); select 1", "begun without a transaction"),
    ],
)
def test_a_file_edited_half_way_is_refused(
    edited: str, message: str, empty_database: str, tmp_path: Path
) -> None:
    write(tmp_path, a=NO_TRANSACTION + "create table a(); select 1/0;")
    with pytest.raises(MigrationError, match="division by zero"):
        migrate.up(empty_database, tmp_path)
    write(tmp_path, _1_a=edited)
    with pytest.raises(MigrationError, match=message):
        migrate.up(empty_database, tmp_path)
    assert tables(empty_database) == {"a"}
    migrate.repair(empty_database, tmp_path, ["00000000000001"], status="applied")
    assert migrate.status(empty_database, tmp_path).ok
    assert rows(empty_database, PROGRESS) == []


def test_an_index_without_a_name(empty_database: str, tmp_path: Path) -> None:
    """Who interrupted it cannot know its name: the next run builds another, and names what may be left."""
    run(empty_database, "create table a (i int); insert into a values (1), (1)")
    write(tmp_path, a="create unique index concurrently on a (i)")
    with pytest.raises(MigrationError, match="could not create unique index"):
        migrate.up(empty_database, tmp_path)
    run(empty_database, "truncate a")
    notice = Once()
    migrate.up(empty_database, tmp_path, notice=notice)
    assert "index a_i_idx is invalid, perhaps left by the last run" in notice
    valid = "select indisvalid from pg_index where indrelid = 'a'::regclass order by 1"
    assert rows(empty_database, valid) == [(False,), (True,)]


# -- without the directive --------------------------------------------------------------------------------


def test_what_ran_before_a_statement_that_cannot_be_in_a_transaction_stays(
    empty_database: str, tmp_path: Path
) -> None:
    sql = "create table a (i int);\ninsert into a values (1);\ncreate index concurrently i_a on a (i);\n"
    write(tmp_path, a=sql + "insert into a values (2);\ninsert into a values ('x');")
    with pytest.raises(MigrationError, match=r"_a\.sql:5: .*; statements before 4 have taken effect"):
        migrate.up(empty_database, tmp_path)
    assert rows(empty_database, "select * from a") == [(1,)]
    (entry,) = migrate.status(empty_database, tmp_path).entries
    assert (entry.state, entry.done, entry.total) == (State.PARTIAL, 3, 5)
    write(tmp_path, _1_a=sql + "insert into a values (3);")
    migrate.up(empty_database, tmp_path)
    assert rows(empty_database, "select i from a order by i") == [(1,), (3,)]
    assert migrate.status(empty_database, tmp_path).ok


def test_a_procedure_that_commits_is_met_on_the_way(empty_database: str, tmp_path: Path) -> None:
    """Only running it tells; what ran before it is not run twice."""
    run(empty_database, "create sequence s; create table a (i int default nextval('s'), t text)")
    sql = (
        "create procedure p() language plpgsql as $$ begin commit; insert into a (t) values ('p'); end $$;"
        "insert into a (t) values ('1'); call p(); insert into a (t) values ('2');"
    )
    write(tmp_path, a=sql + "select 1/0;")
    with pytest.raises(MigrationError, match=r"division by zero .* statements before 4 have taken effect"):
        migrate.up(empty_database, tmp_path)
    assert rows(empty_database, "select i, t from a order by i") == [(1, "1"), (2, "p")]
    write(tmp_path, _1_a=sql)
    migrate.up(empty_database, tmp_path)
    assert rows(empty_database, "select t from a order by i") == [("1",), ("p",), ("2",)]


def test_the_transactions_of_a_file_are_its_steps(empty_database: str, tmp_path: Path) -> None:
    sql = "create table a (i int); begin; insert into a values (1); commit; begin; insert into a values (2);"
    write(tmp_path, a=sql + "select 1/0; commit;")
    notice = Once()
    with pytest.raises(MigrationError, match=r"statement 7 .* statements before 5 have taken effect"):
        migrate.up(empty_database, tmp_path, notice=notice)
    assert "not one transaction but 3 steps" in notice
    assert rows(empty_database, "select * from a") == [(1,)]
    write(tmp_path, _1_a=sql + "commit;")
    migrate.up(empty_database, tmp_path)
    assert rows(empty_database, "select * from a") == [(1,), (2,)]


def test_settings_around_one_transaction_leave_it_one(empty_database: str, tmp_path: Path) -> None:
    sql = "set search_path = public; select set_config('a.b', 'c', false); begin; create table a (t text);"
    write(tmp_path, a=sql + "select 1/0; commit;")
    with pytest.raises(MigrationError, match="nothing of this file was applied"):
        migrate.up(empty_database, tmp_path)
    assert (tables(empty_database), rows(empty_database, PROGRESS_TABLE)) == (set(), [(None,)])
    write(tmp_path, _1_a=sql + "insert into a values (current_setting('a.b')); commit; reset search_path;")
    migrate.up(empty_database, tmp_path)
    assert rows(empty_database, "select t from a") == [("c",)]

"""Runs that meet: each other, the Supabase CLI, an application's locks, a pooler."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING

import psycopg
import pytest

from realtime_toolkit import migrate
from realtime_toolkit.errors import ConfigError, MigrationError
from realtime_toolkit.migrate.session import connect, exclusive
from tests.integration.migrating import Once, rows, run, tables, write
from tests.integration.pooler import transaction_pooler

if TYPE_CHECKING:
    from pathlib import Path


def test_forty_runs_at_once_apply_everything_once(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="create table a (i int); insert into a values (1)", b="insert into a values (2)")
    write(tmp_path, c="-- realtime-toolkit: no-transaction\ncreate index concurrently i_a on a (i)")
    together = threading.Barrier(40)

    def one(_: int) -> tuple[str, ...]:
        together.wait(timeout=30)
        return migrate.up(empty_database, tmp_path, wait=50).applied

    with ThreadPoolExecutor(40) as threads:
        applied = [files for files in threads.map(one, range(40)) if files]
    assert applied == [("00000000000001_a.sql", "00000000000002_b.sql", "00000000000003_c.sql")]
    assert rows(empty_database, "select i from a order by i") == [(1,), (2,)]


def test_the_holder_of_the_lock_is_named(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="create table a()")
    notice = Once()
    with closing(connect(empty_database)) as other, exclusive(other, wait=0):
        with pytest.raises(MigrationError) as raised:
            migrate.up(empty_database, tmp_path, wait=0.2, notice=notice)
        holder = f"realtime-toolkit migrate {socket.gethostname()[:24]}:{os.getpid()} (backend {other.info.backend_pid}, "
        assert holder in str(raised.value)
        assert f"waiting up to 0.2 s for the migration lock, held by {holder}" in notice
    assert tables(empty_database) == set()


def test_a_run_that_waits_is_content_with_what_the_other_did(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="create table a()")
    with closing(connect(empty_database)) as other, exclusive(other, wait=0):

        def meanwhile() -> None:
            run(empty_database, "create schema supabase_migrations")
            run(
                empty_database,
                "create table supabase_migrations.schema_migrations as "
                "select '00000000000001' as version, 'a' as name, array['create table a()'] as statements",
            )

        notice = Once("waiting", meanwhile)
        assert migrate.up(empty_database, tmp_path, wait=30, notice=notice).applied == ()
    assert tables(empty_database) == set()


def test_nothing_to_do_waits_for_nobody(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="create table a()")
    migrate.up(empty_database, tmp_path)
    with closing(connect(empty_database)) as other, exclusive(other, wait=0):
        assert migrate.up(empty_database, tmp_path, wait=0).already == 1


def work_of_the_cli(connection: psycopg.Connection) -> None:
    """What `supabase migration up` does with the first file: statements and row in one transaction, no lock."""
    connection.execute("create table a()")
    connection.execute(
        "insert into supabase_migrations.schema_migrations (version, name, statements) "
        "values ('00000000000001', 'a', array['create table a()'])"
    )


def as_the_cli(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        work_of_the_cli(connection)


def test_the_supabase_cli_may_be_faster(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="create table a()", b="create table b()")
    notice = Once("applying 00000000000001_a.sql", lambda: as_the_cli(empty_database))
    assert migrate.up(empty_database, tmp_path, notice=notice).applied == ("00000000000002_b.sql",)
    assert tables(empty_database) == {"a", "b"}


def test_the_supabase_cli_may_be_faster_by_a_hair(empty_database: str, tmp_path: Path) -> None:
    """It has begun before us and commits in the middle of our transaction, which then fails, and is no failure."""
    create = "create schema supabase_migrations; create table supabase_migrations.schema_migrations"
    run(empty_database, f"{create} (version text primary key, statements text[], name text)")
    write(tmp_path, a="do $$ begin raise warning 'ready'; end $$; create table a()")
    with psycopg.connect(empty_database) as cli:
        work_of_the_cli(cli)
        notice = Once("WARNING: ready", cli.commit)
        assert migrate.up(empty_database, tmp_path, notice=notice).applied == ()
    assert "was applied by another tool meanwhile" in notice
    assert tables(empty_database) == {"a"}


def test_a_statement_that_waits_for_a_lock_gives_way_and_tries_again(
    empty_database: str, tmp_path: Path
) -> None:
    run(empty_database, "create table a (i int)")
    write(tmp_path, a="create table b(); alter table a add column j int")
    with psycopg.connect(empty_database) as application:
        application.execute("lock table a in access share mode")
        notice = Once("attempt 2 of 8", application.rollback)
        migrate.up(empty_database, tmp_path, lock_timeout=0.05, notice=notice)
    assert "canceling statement due to lock timeout (55P03)" in notice
    assert rows(empty_database, "select i, j from a") == []


def test_a_lock_that_is_never_given_back_ends_the_run(empty_database: str, tmp_path: Path) -> None:
    run(empty_database, "create table a (i int)")
    write(tmp_path, a="create table b(); alter table a add column j int")
    with psycopg.connect(empty_database) as application:
        application.execute("lock table a in access share mode")
        with pytest.raises(MigrationError, match=r"_a\.sql:1: statement 2 .*lock timeout \(55P03\); nothing"):
            migrate.up(empty_database, tmp_path, lock_timeout=0.05, attempts=2)
    assert tables(empty_database) == {"a"}


def test_a_transaction_mode_pooler_is_refused(empty_database: str, tmp_path: Path) -> None:
    write(tmp_path, a="create table a()")
    with transaction_pooler(empty_database) as pooled:
        with pytest.raises(ConfigError, match=r"transaction-mode pooler .*port 5432"):
            migrate.up(pooled, tmp_path)
        with pytest.raises(ConfigError, match="transaction-mode pooler"):
            migrate.repair(pooled, tmp_path, ["00000000000001"], status="applied")
        assert [entry.state for entry in migrate.status(pooled, tmp_path).entries] == ["pending"]
    assert tables(empty_database) == set()
    assert rows(empty_database, "select to_regnamespace('supabase_migrations')") == [(None,)]

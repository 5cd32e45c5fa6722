"""What the server's settings and the connecting role's rights mean for verify."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from realtime_toolkit import migrate, verify
from realtime_toolkit.stack import LocalStack
from realtime_toolkit.stack.postgres.binaries import DEFAULT, find_install
from realtime_toolkit.stack.postgres.places import cache_dir
from realtime_toolkit.stack.postgres.server import EmbeddedPostgres, init_data
from realtime_toolkit.stack.postgres.template import apply_baseline
from realtime_toolkit.verify import Outcome
from realtime_toolkit.verify.catalogue import static_checks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TESTS = Path(__file__).parents[1]
MIGRATIONS = TESTS.parent / "supabase" / "migrations"

own_server = pytest.mark.needs_stack("starts a Postgres of its own")


@asynccontextmanager
async def server(tmp_path: Path, **settings: Any) -> AsyncIterator[EmbeddedPostgres]:
    """A Postgres of its own, with nothing of Supabase in it."""
    install = find_install(DEFAULT, cache_dir())
    data = tmp_path / "data"
    init_data(install, data)
    postgres = EmbeddedPostgres(install, data, password="postgres", **settings)
    try:
        await postgres.start()
        yield postgres
    finally:
        await postgres.stop()


@own_server
async def test_settings_that_realtime_cannot_work_with(tmp_path: Path) -> None:
    settings = {
        "wal_level": "replica",
        "max_replication_slots": "1",
        "max_wal_senders": "1",
        "max_slot_wal_keep_size": "16MB",
    }
    async with server(tmp_path, **settings) as postgres:
        await apply_baseline(postgres.admin_url)
        report = verify.verify(postgres.admin_url, checks=["server"])
    assert [finding.code for finding in report.findings] == ["SRV001", "SRV002", "SRV003", "SRV004"]
    assert report.findings[0].object == "server setting wal_level"


@own_server
async def test_a_database_that_is_no_supabase_project_is_no_pass(tmp_path: Path) -> None:
    async with server(tmp_path) as postgres:
        report = verify.verify(postgres.admin_url)
    outcomes = {check.rule.code: check.outcome for check in report.checks}
    assert outcomes["PUB001"] is Outcome.FAIL
    assert outcomes["RLS001"] is Outcome.UNDECIDED
    assert outcomes["MSG001"] is Outcome.SKIPPED
    assert outcomes["ACC001"] is Outcome.SKIPPED


@pytest.mark.parametrize(
    ("libraries", "shut_out"),
    [
        ("pgoutput, test_decoding", True),
        ("", True),
        ("pgoutput, test_decoding, wal2json", False),
        ("wal2json", False),
        ('"wal2json", pgoutput', False),
        ("not_wal2json_at_all", True),
    ],
)
def test_output_plugins_that_may_be_used(stack: LocalStack, libraries: str, shut_out: bool) -> None:
    """The setting is new in 17.11; its place is taken by one that every version takes."""
    (check,) = [check for check in static_checks() if check.rule.code == "SRV006"]
    query = check.sql.replace("'output_plugin_libraries'", "'toolkit.libraries'")
    with psycopg.connect(stack.database_url) as connection:
        connection.execute("select set_config('toolkit.libraries', %s, true)", [libraries])
        rows = connection.execute(query.encode()).fetchall()
    # Unset is not the same as empty: only then there is nothing to judge.
    assert bool(rows) is shut_out


@pytest.mark.xdist_group("rights of hosted postgres")
@own_server
async def test_the_rights_of_hosted_postgres_are_enough() -> None:
    async with LocalStack(superuser=False, migrations=MIGRATIONS) as stack:
        report = verify.verify(stack.database_url)
    assert not report.findings
    assert not [(c.rule.code, c.reason) for c in report.checks if c.outcome is not Outcome.PASS]


@pytest.mark.xdist_group("rights of hosted postgres")
@own_server
async def test_flaws_are_found_with_the_rights_of_hosted_postgres() -> None:
    async with LocalStack(superuser=False) as stack:
        migrate.apply_all(stack.database_url, MIGRATIONS)
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            connection.execute((TESTS / "flaws" / "ACC001_uncorrelated_membership.sql").read_bytes())
        report = verify.verify(stack.database_url)
    assert {finding.code for finding in report.findings} == {"ACC001"}

"""The database goes away under the server, and comes back."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from realtime_toolkit.settings import mint_token
from realtime_toolkit.stack.postgres.binaries import DEFAULT, find_install
from realtime_toolkit.stack.postgres.places import cache_dir
from realtime_toolkit.stack.postgres.server import EmbeddedPostgres, free_port, init_data
from realtime_toolkit.stack.realtime.limits import Limits
from tests.conformance.conftest import make_template
from tests.conformance.harness import SECRET, Harness
from tests.conformance.talk import SUBSCRIBED, Talk, talk
from tests.conformance.test_python_clients import A, execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.conformance.harness import Served

SCHEMA = """
create table public.things (id int primary key, t text);
grant all on public.things to anon, authenticated, service_role;
alter publication supabase_realtime add table public.things;
create policy read on realtime.messages for select to authenticated using (true);
"""
CHANGES, DATABASE, CLIENTS = "realtime:changes", "realtime:database", "realtime:clients"
TIMEOUTS = '{:error, "Too many database timeouts"}'
POOL = "IncreaseConnectionPool: Please increase your connection pool size"


@dataclass
class Site:
    postgres: EmbeddedPostgres
    served: Served


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """A server over a Postgres of its own, which may be stopped."""
    install = find_install(DEFAULT, cache_dir())
    init_data(install, tmp_path / "data")
    port = free_port()
    postgres = EmbeddedPostgres(install, tmp_path / "data", password="postgres", port=port, orderly=True)
    await postgres.start()
    try:
        await make_template(postgres.database_url)
        harness = Harness(postgres.database_url)
        async with harness.server(SCHEMA, limits=Limits.generous()) as served:
            yield Site(postgres, served)
    finally:
        await postgres.stop()


@contextlib.asynccontextmanager
async def listening(served: Served) -> AsyncIterator[Talk]:
    """Joined for changes, for broadcasts from the database, and for those of clients."""
    async with talk(served) as talking:
        token = mint_token(SECRET, A)
        await talking.follow(CHANGES, "things", token)
        await talking.join(DATABASE, token, private=True)
        await talking.join(CLIENTS, broadcast={"ack": True, "self": True})
        yield talking


async def write(served: Served, number: int) -> None:
    message = f"""select realtime.send('{{"n": {number}}}', 'e', 'database')"""
    await execute(served, f"insert into things values ({number}, 'x')", message)


async def returns(talking: Talk, served: Served) -> None:
    """Changes and broadcasts from the database come again, in the same socket."""
    await served.realtime.server.reader.connected.wait()
    await write(served, 100)
    await talking.until(lambda: 100 in talking.records(CHANGES), 10)
    await talking.until(lambda: any(item["n"] == 100 for item in talking.broadcasts(DATABASE)))
    await talking.beat()
    assert not talking.payloads(CHANGES, "phx_error")
    assert talking.closed is None


async def slots(served: Served) -> list[Any]:
    async with await psycopg.AsyncConnection.connect(served.dsn) as database:
        found = await database.execute("select slot_name, active from pg_replication_slots")
        return await found.fetchall()


async def test_all_connections_are_ended(site: Site) -> None:
    async with listening(site.served) as talking:
        (before,) = await slots(site.served)
        await execute(
            site.served,
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()",
        )
        await write(site.served, 1)  # lost: the slot is gone, and the next one begins where it is made
        await talking.until(lambda: talking.system(CHANGES).count(SUBSCRIBED) == 2, 10)
        await returns(talking, site.served)
        assert 1 not in talking.records(CHANGES)
        (after,) = await slots(site.served)
        assert before != after


async def test_the_replication_connection_alone_is_ended_without_a_word(site: Site) -> None:
    async with listening(site.served) as talking:
        (before,) = await slots(site.served)
        await execute(site.served, "select pg_terminate_backend(active_pid) from pg_replication_slots")
        await write(site.served, 1)  # lost
        reader = site.served.realtime.server.reader
        async with asyncio.timeout(10):
            while reader.slot == before[0]:  # noqa: ASYNC110 - nobody is told
                await asyncio.sleep(0.01)
        await returns(talking, site.served)
        assert 1 not in talking.records(CHANGES)
        assert talking.system(CHANGES) == [SUBSCRIBED]


async def test_a_restart_is_survived_without_a_word(site: Site) -> None:
    async with listening(site.served) as talking:
        await site.postgres.stop()
        await site.postgres.start()
        await returns(talking, site.served)
        assert talking.system(CHANGES) == [SUBSCRIBED]
        assert len(await slots(site.served)) == 1


async def test_while_the_database_is_down(site: Site) -> None:
    async with listening(site.served) as talking:
        await site.postgres.stop()
        await asyncio.sleep(0)
        assert (
            await talking.status(await talking.push(CLIENTS, "broadcast", {"event": "e", "payload": 1}))
            == "ok"
        )
        await talking.until(lambda: talking.broadcasts(CLIENTS))
        async with talk(site.served) as late:
            token = mint_token(SECRET, A)
            await late.join("realtime:other", token)
            binding = {"event": "*", "schema": "public", "table": "things"}
            await late.join("realtime:late", token, postgres_changes=[binding])
            ref = await late.start_join("realtime:private", token, private=True)
            assert await late.status(ref) == "error"
            assert late.reply(ref)["response"] == {"reason": POOL}
            await late.until(lambda: TIMEOUTS in late.system("realtime:late"))
            await site.postgres.start()
            await late.until(lambda: SUBSCRIBED in late.system("realtime:late"), 10)
            await returns(talking, site.served)
            await late.until(lambda: 100 in late.records("realtime:late"))


async def test_a_server_ends_while_the_database_is_down(site: Site) -> None:
    async with listening(site.served) as talking:
        await site.postgres.stop()
        async with asyncio.timeout(5):
            await site.served.realtime.stop()
        await talking.until(lambda: talking.closed)
        assert talking.closed == 1012
    await site.postgres.start()

"""One embedded Postgres for the session, a database per server."""

from __future__ import annotations

import asyncio
import datetime
import os
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from realtime_toolkit.stack.postgres.binaries import DEFAULT, find_install
from realtime_toolkit.stack.postgres.places import cache_dir
from realtime_toolkit.stack.postgres.server import EmbeddedPostgres, init_data
from realtime_toolkit.stack.postgres.template import apply_baseline
from realtime_toolkit.stack.realtime.messages import make_partitions
from tests.conformance.harness import TEMPLATE, Harness

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def harness(external: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    if external:
        pytest.skip("about the stack's own Realtime server")
    if url := os.environ.get("HARNESS_ADMIN_URL"):  # a server that is there already, for development
        asyncio.run(make_template(url))
        yield Harness(url)
        return
    install = find_install(DEFAULT, cache_dir())
    data = tmp_path_factory.mktemp("harness") / "data"
    init_data(install, data)
    postgres = EmbeddedPostgres(install, data, password="postgres")
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(postgres.start(), loop).result(30)
        asyncio.run_coroutine_threadsafe(make_template(postgres.admin_url), loop).result(30)
        yield Harness(postgres.admin_url)
    finally:
        asyncio.run_coroutine_threadsafe(postgres.stop(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def make_template(admin_url: str) -> None:
    async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as admin:
        await admin.execute(f"drop database if exists {TEMPLATE} with (force)")
        await admin.execute(f"create database {TEMPLATE}")
    dsn = psycopg.conninfo.make_conninfo(admin_url, dbname=TEMPLATE)
    await apply_baseline(dsn)
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as database:
        await make_partitions(
            database, datetime.datetime.now(datetime.UTC).date()
        )  # for what is asked without a server

"""Postgres from elsewhere: an address, a container; and branches of a running stack."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest

from realtime_toolkit.errors import ConfigError, StackError, Unreachable
from realtime_toolkit.stack import LocalStack
from realtime_toolkit.stack.postgres import binaries
from realtime_toolkit.stack.postgres import server as postgres
from realtime_toolkit.stack.postgres.places import cache_dir

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.needs_stack("about where a stack's Postgres comes from")

MIGRATIONS = Path(__file__).parents[2] / "supabase" / "migrations"
CONTAINERS = Path(__file__).parents[1] / "containers"

ON_A_SERVER = """
import asyncio, sys
from realtime_toolkit.stack import LocalStack

async def main():
    async with LocalStack(sys.argv[1]):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOOLKIT_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


class Server:
    """Somebody's Postgres, with roles of the password ``p``."""

    def __init__(self, embedded: postgres.EmbeddedPostgres) -> None:
        self._embedded = embedded

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self._embedded.admin_url, autocommit=True) as db:
            cursor = db.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def url(self, role: str, password: str = "p") -> str:
        return f"postgresql://{role}:{password}@127.0.0.1:{self._embedded.port}/postgres"

    def databases(self) -> set[str]:
        return {name for (name,) in self.query("select datname from pg_database")}

    def slots(self) -> list[tuple[Any, ...]]:
        return self.query("select slot_name from pg_replication_slots")


@pytest.fixture
def version() -> int:
    return 18


@pytest.fixture
async def server(version: int, tmp_path: Path) -> AsyncIterator[Server]:
    install = binaries.find_install(version, cache_dir())
    await asyncio.to_thread(postgres.init_data, install, tmp_path / "theirs")
    embedded = postgres.EmbeddedPostgres(install, tmp_path / "theirs", password="x")
    await embedded.start()
    found = Server(embedded)
    found.query(
        "create role boss superuser login password 'p';"
        "create role plain createdb createrole replication bypassrls login password 'p';"
        "create role reader login password 'p'"
    )
    yield found
    await embedded.stop()


@pytest.mark.parametrize(
    ("version", "role"),
    [
        (15, "boss"),
        (16, "plain"),
        (18, "boss"),
        (18, "plain"),
    ],  # on 15 only a superuser makes roles with BYPASSRLS
)
async def test_a_given_server_is_left_as_it_was(server: Server, role: str) -> None:
    before = server.databases()
    async with LocalStack(server.url(role), migrations=MIGRATIONS) as stack:
        assert len(server.databases() - before) == 1
        headers = {"apikey": stack.service_role_key}
        async with httpx.AsyncClient(base_url=stack.url, headers=headers) as http:
            made = await http.post("/rest/v1/conversations", json={"user_id": str(uuid.uuid4())})
            assert made.status_code == 201
            assert (
                await http.post("/auth/v1/signup", json={"email": "a@b.c", "password": "secret"})
            ).is_success
        assert len(server.slots()) >= 1
    assert server.databases() == before
    assert server.slots() == []


async def test_two_stacks_on_one_server_at_once(server: Server) -> None:
    url = server.url("plain")
    async with LocalStack(url, migrations=MIGRATIONS) as one, LocalStack(url, migrations=MIGRATIONS) as two:
        with psycopg.connect(one.database_url) as db:
            db.execute("insert into conversations (user_id) values (gen_random_uuid())")
        with psycopg.connect(two.database_url) as db:
            assert db.execute("select count(*) from conversations").fetchone() == (0,)


async def test_a_killed_stack_leaves_no_database_after_the_next_start(server: Server) -> None:
    before = server.databases()
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ON_A_SERVER, server.url("plain"), stdout=subprocess.PIPE
    )
    assert running.stdout is not None
    assert await running.stdout.readline() == b"ready\n"
    (orphan,) = server.databases() - before
    running.send_signal(signal.SIGKILL)
    await running.wait()
    async with LocalStack():
        assert orphan not in server.databases()
    assert server.slots() == []


async def test_a_role_that_may_not_replicate_is_refused(server: Server) -> None:
    with pytest.raises(ConfigError, match=r"role reader on .* may not replicate"):
        await LocalStack(server.url("reader")).start()


async def test_a_wrong_password_is_told_without_showing_it(server: Server) -> None:
    with pytest.raises(ConfigError, match=r"cannot connect to boss@127.0.0.1") as raised:
        await LocalStack(server.url("boss", "hunter2")).start()
    assert "hunter2" not in str(raised.value)


async def test_nobody_there() -> None:
    address = f"postgresql://postgres:hunter2@127.0.0.1:{postgres.free_port()}/postgres"
    with pytest.raises(Unreachable, match=r"cannot connect to postgres@127.0.0.1") as raised:
        await LocalStack(address).start()
    assert "hunter2" not in str(raised.value)


async def test_without_logical_wal_it_says_what_to_set(tmp_path: Path) -> None:
    install = binaries.find_install(binaries.DEFAULT, cache_dir())
    await asyncio.to_thread(postgres.init_data, install, tmp_path / "theirs")
    server = postgres.EmbeddedPostgres(install, tmp_path / "theirs", password="x", wal_level="replica")
    await server.start()
    try:
        with pytest.raises(ConfigError, match="wal_level = replica; set it to logical"):
            await LocalStack(server.database_url).start()
    finally:
        await server.stop()


@pytest.mark.parametrize("wrong", ["embeded", "mysql://localhost", ""])
def test_what_is_no_source(wrong: str) -> None:
    with pytest.raises(ConfigError, match="'embedded', 'container' or a postgresql:// address"):
        LocalStack(wrong)


def test_only_the_embedded_server_keeps_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only the embedded Postgres"):
        LocalStack("container", data_dir=tmp_path)


# --- branches ---------------------------------------------------------------------------------------------


async def test_a_branch_is_a_migrated_project_of_its_own() -> None:
    async with LocalStack(migrations=MIGRATIONS) as stack:
        with psycopg.connect(stack.database_url) as db:
            db.execute("insert into conversations (user_id) values (gen_random_uuid())")
        async with stack.branch() as branch:
            assert branch.url != stack.url
            assert branch.keys == stack.keys
            with psycopg.connect(branch.database_url) as ours, psycopg.connect(stack.database_url) as theirs:
                assert ours.execute("select count(*) from conversations").fetchone() == (0,)
                for same in ("show search_path", "show statement_timeout", DATABASE_OWNER):
                    assert ours.execute(same).fetchone() == theirs.execute(same).fetchone()
                epoch = "select realtime_toolkit.epoch()"
                assert ours.execute(epoch).fetchone() != theirs.execute(epoch).fetchone()
                name = ours.info.dbname
            async with httpx.AsyncClient(headers={"apikey": branch.service_role_key}) as http:
                answer = await http.get(f"{branch.url}/rest/v1/conversations")
            assert answer.json() == []
        with psycopg.connect(stack.database_url) as db:
            assert db.execute("select from pg_database where datname = %s", [name]).fetchone() is None
            slots = db.execute("select count(*) from pg_replication_slots where database = %s", [name])
            assert slots.fetchone() == (0,)


DATABASE_OWNER = "select datdba::regrole::text from pg_database where datname = current_database()"


async def test_branches_of_a_given_server_leave_nothing(server: Server) -> None:
    before = server.databases()
    async with LocalStack(server.url("plain"), migrations=MIGRATIONS) as stack:
        one, two = stack.branch(), stack.branch()
        async with one, two:
            assert len(server.databases() - before) == 4
    assert server.databases() == before


async def test_a_stack_that_does_not_run_has_no_branches() -> None:
    with pytest.raises(StackError, match="not running"):
        LocalStack().branch()


# --- containers -------------------------------------------------------------------------------------------


def image() -> str:
    """An image that is here already; skips where there is no engine, or none."""
    try:
        engine = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=20)
    except FileNotFoundError:
        pytest.skip("there is no container engine: no docker on PATH")
    if engine.returncode != 0:
        pytest.skip("there is no container engine: docker info fails")
    for name in (os.environ.get("TOOLKIT_POSTGRES_IMAGE"), "postgres:17", "toolkit-postgres:15"):
        inspect = ["docker", "image", "inspect", name or "-"]
        if subprocess.run(inspect, capture_output=True, check=False).returncode == 0:
            return str(name)
    pytest.skip("no image of Postgres: tests/containers/build.sh gets or builds one")


@pytest.fixture
def container_image(monkeypatch: pytest.MonkeyPatch) -> str:
    found = image()
    monkeypatch.setenv("TOOLKIT_POSTGRES_IMAGE", found)
    return found


def docker(*args: str) -> str:
    return subprocess.run(["docker", *args], capture_output=True, text=True, check=True).stdout


def container_of(state: Path) -> str:
    (record,) = (state / "run").glob("*/stack.json")
    (identity,) = json.loads(record.read_text())["containers"]
    return str(identity)


def exists(container: str) -> bool:
    inspected = subprocess.run(["docker", "inspect", container], capture_output=True, check=False)
    return inspected.returncode == 0


async def test_a_container_serves_and_goes(container_image: str, state: Path) -> None:
    async with LocalStack("container", migrations=MIGRATIONS) as stack:
        ours = container_of(state)
        address = stack.database_url.rpartition("/")[0].rpartition("@")[2]
        assert docker("port", ours).split() == ["5432/tcp", "->", address]
        async with stack.branch() as branch, httpx.AsyncClient() as http:
            headers = {"apikey": branch.service_role_key}
            answer = await http.get(f"{branch.url}/rest/v1/conversations", headers=headers)
            assert answer.json() == []
    assert not exists(ours)


async def test_postgres_in_a_container_need_not_be_a_superuser(container_image: str) -> None:
    async with LocalStack("container", migrations=MIGRATIONS, superuser=False) as stack:
        with psycopg.connect(stack.database_url) as db:
            rights = db.execute("select rolsuper from pg_roles where rolname = current_user")
            assert rights.fetchone() == (False,)


async def test_the_end_of_the_container_is_reported(container_image: str, state: Path) -> None:
    async with LocalStack("container") as stack:
        docker("kill", container_of(state))
        with pytest.raises(StackError, match=f"the container of {container_image} ended"):
            await asyncio.wait_for(stack.wait_failed(), 10)


async def test_the_container_of_a_killed_stack_is_removed(
    container_image: str, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ON_A_SERVER, "container", stdout=subprocess.PIPE
    )
    assert running.stdout is not None
    assert await running.stdout.readline() == b"ready\n"
    running.send_signal(signal.SIGKILL)
    await running.wait()
    orphan = container_of(state)
    assert exists(orphan)
    async with LocalStack():
        assert not exists(orphan)


async def test_an_image_that_is_none(container_image: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_POSTGRES_IMAGE", "toolkit-postgres:no-such-tag")
    with pytest.raises(StackError, match="cannot run a container of toolkit-postgres:no-such-tag"):
        await LocalStack("container").start()

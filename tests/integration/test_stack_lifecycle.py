"""Starting and ending: what is there afterwards, whatever happened in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
import uvloop

from realtime_toolkit import verify
from realtime_toolkit.errors import ConfigError, MigrationError, PortInUse, StackError
from realtime_toolkit.stack import LocalStack, rest, running_stack
from realtime_toolkit.stack.postgres import binaries, process, residue
from realtime_toolkit.stack.postgres import server as postgres
from realtime_toolkit.stack.postgres.places import cache_dir

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs_stack("about the start and end of stacks")

MIGRATIONS = Path(__file__).parents[2] / "supabase" / "migrations"
PATIENCE = 10.0

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

ONE_STACK = """
import asyncio, sys
from realtime_toolkit.stack import LocalStack

async def main():
    async with LocalStack(publish=True, data_dir=sys.argv[1] if len(sys.argv) > 1 else None):
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own; prepared data directories are shared."""
    monkeypatch.setenv("TOOLKIT_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


def recorded(state: Path) -> dict[str, Any]:
    (file,) = (state / "run").glob("*/stack.json")
    facts: dict[str, Any] = json.loads(file.read_text())
    return facts


def processes(facts: dict[str, Any]) -> list[process.ProcessId]:
    """Those alive now; a server that prepared a data directory has ended since."""
    found = [process.ProcessId(item["pid"], item["started"]) for item in facts["processes"]]
    return [one for one in found if one.alive()]


def name_of(one: process.ProcessId) -> str:
    return Path(f"/proc/{one.pid}/comm").read_text().strip()


def listening_on(one: process.ProcessId) -> set[str]:
    """Local addresses, in the kernel's hexadecimal, of the TCP sockets this process listens on."""
    inodes = {str(link.readlink()) for link in Path(f"/proc/{one.pid}/fd").iterdir() if link.is_symlink()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{one.pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.add(fields[1].partition(":")[0])
    return found


def existing(folders: list[str]) -> list[str]:
    return [folder for folder in folders if Path(folder).exists()]


def leftovers(state: Path) -> list[Path]:
    return list((state / "run").iterdir())


def wait_gone(ended: list[process.ProcessId]) -> None:
    deadline = time.monotonic() + PATIENCE
    for one in ended:
        while one.alive():
            assert time.monotonic() < deadline, f"{one} is still there"
            time.sleep(0.01)


def templates() -> set[str]:
    return {path.name for path in (cache_dir() / "data").iterdir()}


async def test_leaving_leaves_nothing(state: Path) -> None:
    async with LocalStack(migrations=MIGRATIONS) as stack:
        facts, port = recorded(state), stack.url.rpartition(":")[2]
        running = processes(facts)
        assert {name_of(one) for one in running} == {"postgres", "postgrest"}
    assert not any(one.alive() for one in running)
    assert not leftovers(state)
    assert not existing(facts["folders"])
    assert not [name for name in templates() if Path(state).name in name]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=5)


@linux
async def test_it_listens_on_the_loopback_address_only(state: Path) -> None:
    async with LocalStack():
        this = process.ProcessId.of(os.getpid())
        assert this is not None
        everything = [this, *processes(recorded(state))]
        assert {address for one in everything for address in listening_on(one)} == {"0100007F"}


async def test_a_stopped_persistent_stack_has_no_slot(tmp_path: Path) -> None:
    async with LocalStack(data_dir=tmp_path / "data", migrations=MIGRATIONS):
        pass
    install = binaries.find_install(binaries.DEFAULT, cache_dir())
    server = postgres.EmbeddedPostgres(install, tmp_path / "data" / "postgres", password="x")
    await server.start()
    try:
        async with await psycopg.AsyncConnection.connect(server.admin_url) as db:
            slots = await (await db.execute("select slot_name from pg_replication_slots")).fetchall()
        assert slots == []
    finally:
        await server.stop()


async def test_a_persistent_stack_keeps_rows_and_keys(tmp_path: Path) -> None:
    async with LocalStack(data_dir=tmp_path / "data") as stack:
        before = stack.keys
        with psycopg.connect(stack.database_url) as db:
            db.execute("create table kept as select 42 as answer")
    async with LocalStack(data_dir=tmp_path / "data") as stack:
        assert stack.keys == before
        with psycopg.connect(stack.database_url) as db:
            assert db.execute("select answer from kept").fetchone() == (42,)


async def test_pending_migrations_are_applied_to_a_persistent_stack(tmp_path: Path) -> None:
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    (migrations / "20260101000000_one.sql").write_text("create table one ();")
    async with LocalStack(data_dir=tmp_path / "data", migrations=migrations):
        pass
    (migrations / "20260102000000_two.sql").write_text("create table two ();")
    async with LocalStack(data_dir=tmp_path / "data", migrations=migrations) as stack:
        with psycopg.connect(stack.database_url) as db:
            db.execute("select from one, two")


async def test_a_persistent_stack_of_an_earlier_version_gets_the_new_baseline(tmp_path: Path) -> None:
    async with LocalStack(data_dir=tmp_path / "data") as stack:
        with psycopg.connect(stack.admin_url) as db:
            db.execute("drop function auth.email()")
    (tmp_path / "data" / "baseline").write_text("of an earlier version")
    async with LocalStack(data_dir=tmp_path / "data") as stack:
        with psycopg.connect(stack.database_url) as db:
            assert db.execute("select auth.email()").fetchone() == (None,)


async def test_a_copy_of_a_migrated_database_has_an_epoch_of_its_own() -> None:
    epochs = set()
    for _ in range(2):
        async with LocalStack(migrations=MIGRATIONS) as stack:
            with psycopg.connect(stack.database_url) as db:
                epochs.add(db.execute("select realtime_toolkit.epoch()").fetchone())
    assert len(epochs) == 2


@pytest.fixture
def other_process(state: Path) -> Iterator[subprocess.Popen[str]]:
    running = subprocess.Popen([sys.executable, "-c", ONE_STACK], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    yield running
    running.kill()
    running.wait()
    running.stdout.close()
    residue.sweep(state)


async def test_a_killed_stack_is_cleaned_up_by_the_next_start(
    state: Path, other_process: subprocess.Popen[str]
) -> None:
    facts = recorded(state)
    children = processes(facts)
    assert children
    env = running_stack()
    assert env is not None
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{env['SUPABASE_URL']}/auth/v1/health")).status_code == 401
    os.kill(other_process.pid, signal.SIGKILL)
    other_process.wait()
    assert running_stack() is None
    wait_gone(children)  # the kernel told the children, before any next start
    assert leftovers(state)
    async with LocalStack():
        assert [path.name for path in leftovers(state)] != [Path(folder).name for folder in facts["folders"]]
        assert len(leftovers(state)) == 1
    assert not leftovers(state)
    assert not existing(facts["folders"])


def test_a_running_stack_is_left_alone(state: Path, other_process: subprocess.Popen[str]) -> None:
    assert residue.sweep(state) == []
    assert processes(recorded(state))
    assert running_stack() is not None


def test_a_sweep_ends_the_recorded_process_and_no_other(state: Path, tmp_path: Path) -> None:
    ours, reused = (process.spawn(["/bin/sleep", "60"], log=tmp_path / "log") for _ in range(2))
    try:
        claim = residue.Claim.make(state)
        claim.note_process(process.ProcessId.of(ours.pid))
        claim.note_process(process.ProcessId(reused.pid, "an earlier boot:1"))
        claim.note(folders=[str(tmp_path / "sockets")])
        (tmp_path / "sockets").mkdir()
        os.close(claim._lock)  # as the kernel does when the owner is gone
        assert residue.sweep(state) == [claim.name]
        assert ours.wait(PATIENCE) != 0
        assert reused.poll() is None
        assert not claim.path.exists()
        assert not (tmp_path / "sockets").exists()
    finally:
        for one in (ours, reused):
            one.kill()
            one.wait()


async def test_a_port_in_use(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=f"port {port} on 127.0.0.1 is already in use"):
            await LocalStack(port=port).start()
    assert not leftovers(state)


async def test_two_stacks_cannot_share_a_folder(tmp_path: Path) -> None:
    async with LocalStack(data_dir=tmp_path / "data"):
        with pytest.raises(ConfigError, match="in use by another running stack"):
            await LocalStack(data_dir=tmp_path / "data").start()


async def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("…")
    with pytest.raises(ConfigError, match="is not empty"):
        await LocalStack(data_dir=tmp_path).start()
    assert (tmp_path / "thesis.tex").exists()


async def test_an_unknown_postgres_version_is_refused() -> None:
    with pytest.raises(ConfigError, match="no embedded Postgres 14: choose one of 15, 16, 17, 18"):
        await LocalStack(version=14).start()


async def test_a_migration_that_fails_leaves_nothing(tmp_path: Path, state: Path) -> None:
    migrations = tmp_path / "migrations"
    migrations.mkdir()
    (migrations / "20260101000000_wrong.sql").write_text("create table t (id int);\nselect 1/0;")
    before = templates()
    with pytest.raises(MigrationError, match="20260101000000_wrong"):
        await LocalStack(migrations=migrations).start()
    assert not leftovers(state)
    assert templates() == before


async def test_a_missing_migrations_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        await LocalStack(migrations=tmp_path / "nowhere").start()


async def test_the_end_of_postgres_is_reported_in_one_line(state: Path) -> None:
    async with LocalStack() as stack:
        (server,) = (one for one in processes(recorded(state)) if name_of(one) == "postgres")
        server.kill(signal.SIGQUIT)
        with pytest.raises(StackError, match=r"Postgres in .* ended") as raised:
            await asyncio.wait_for(stack.wait_failed(), PATIENCE)
        assert "\n" not in str(raised.value)


async def test_postgrest_is_started_again_when_it_dies(state: Path) -> None:
    async with LocalStack() as stack:
        (rest,) = (one for one in processes(recorded(state)) if name_of(one) == "postgrest")
        rest.kill(signal.SIGKILL)
        headers, deadline = {"apikey": stack.service_role_key}, time.monotonic() + PATIENCE
        async with httpx.AsyncClient(base_url=stack.url, headers=headers) as client:
            while (answer := await client.get("/rest/v1/nothing")).status_code == 503:
                assert time.monotonic() < deadline
        assert answer.json()["code"] == "42P01"


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root runs Postgres as somebody else"
)
def test_a_cache_that_others_cannot_enter(tmp_path: Path) -> None:
    """As root has it below /root: the server's OS user can read neither cache nor data."""
    shut = tmp_path / "shut"
    shut.mkdir(mode=0o700)
    code = (
        "import asyncio, sys; from realtime_toolkit.stack import LocalStack, postgres\n"
        "async def main():\n"
        "    async with LocalStack(data_dir=sys.argv[1]): print('ready')\n"
        "asyncio.run(main())\n"
    )
    env = {**os.environ, "TOOLKIT_CACHE_DIR": str(shut / "cache")}
    env["POSTGREST_BIN"] = str(rest.find_postgrest(cache_dir()))
    done = subprocess.run(
        [sys.executable, "-c", code, str(shut / "data")], env=env, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("ready\n", "")


async def test_migrations_need_no_superuser() -> None:
    async with LocalStack(superuser=False, migrations=MIGRATIONS) as stack:
        with psycopg.connect(stack.database_url) as db:
            rights = db.execute("select rolsuper, rolbypassrls from pg_roles where rolname = current_user")
            assert rights.fetchone() == (False, True)
            policies = "select count(*) from pg_policy where polrelid = 'realtime.messages'::regclass"
            assert db.execute(policies).fetchone() == (4,)


async def test_policies_on_messages_are_left_to_whoever_may_make_them() -> None:
    """On a Postgres of one's own, where ``postgres`` does not own ``realtime.messages`` and there is no supautils."""
    async with LocalStack(superuser=False) as stack:
        with psycopg.connect(stack.admin_url, autocommit=True) as admin:
            admin.execute(
                "drop event trigger toolkit_supautils_start; drop event trigger toolkit_supautils_end"
            )
            said: list[str] = []
            for migration in sorted(MIGRATIONS.glob("*.sql")):
                with psycopg.connect(stack.database_url) as db:
                    db.add_notice_handler(lambda notice: said.append(str(notice.message_primary)))
                    db.execute(migration.read_bytes())
            assert len(said) == 1
            assert (
                "which belongs to supabase_realtime_admin: as a superuser run: select realtime_toolkit.make_ch"
                in said[0]
            )
            policies = "select count(*) from pg_policy where polrelid = 'realtime.messages'::regclass"
            assert admin.execute(policies).fetchone() == (0,)
            for _ in range(2):
                admin.execute("select realtime_toolkit.make_channel_policies()")
                assert admin.execute(policies).fetchone() == (4,)
            admin.execute("alter table realtime.messages disable row level security")
        mends = [finding.fix for finding in verify.verify(stack.database_url, checks=["MSG001"]).findings]
    assert mends == [
        "alter table realtime.messages enable row level security; -- as supabase_realtime_admin, its owner, or a superuser"
    ]


def test_it_runs_on_uvloop() -> None:
    async def once() -> int:
        async with LocalStack() as stack, httpx.AsyncClient() as client:
            return (await client.get(f"{stack.url}/auth/v1/health")).status_code

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(once()) == 401


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 80 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs", folder], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> None:
    """Until nothing more fits."""
    with (folder / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(bytes(4096))


async def test_a_disk_that_is_full_refuses_rows(small_disk: Path) -> None:
    async with LocalStack(data_dir=small_disk / "data") as stack:
        with psycopg.connect(stack.database_url, autocommit=True) as db:
            db.execute("create table big (content text)")
            fill(small_disk)
            with pytest.raises(psycopg.errors.DiskFull, match="No space left on device"):
                db.execute("insert into big select repeat(md5(i::text), 60) from generate_series(1, 50000) i")


async def test_a_disk_without_room_for_the_log_ends_the_stack_in_one_line(small_disk: Path) -> None:
    async with LocalStack(data_dir=small_disk / "data") as stack:
        with psycopg.connect(stack.database_url, autocommit=True) as db:
            fill(small_disk)
            with pytest.raises(psycopg.OperationalError):
                await asyncio.to_thread(write_log, db)
        with pytest.raises(
            StackError, match=r"Postgres in .*/small/data/postgres ended: .*No space left on device"
        ):
            await asyncio.wait_for(stack.wait_failed(), PATIENCE)


def write_log(db: psycopg.Connection[Any]) -> None:
    for _ in range(1000):
        db.execute("select pg_logical_emit_message(false, 'fill', repeat('x', 100000)), pg_switch_wal()")


async def test_a_disk_too_small_to_start_on(small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(StackError, match=r"no space left on device: .*/small/data") as raised:
        await LocalStack(data_dir=small_disk / "data").start()
    assert "\n" not in str(raised.value)
    assert not (small_disk / "data" / "postgres").exists()

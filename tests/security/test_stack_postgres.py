"""Who gets into the stack's Postgres: whoever started it, and who has a password. Others of the machine never."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from realtime_toolkit.stack import LocalStack
from realtime_toolkit.stack.postgres import binaries
from realtime_toolkit.stack.postgres import server as postgres
from realtime_toolkit.stack.postgres.places import cache_dir
from realtime_toolkit.stack.postgres.private import reachable, unprivileged_user

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.needs_stack("about the Postgres that the stack runs")

NOBODY_ELSE = """
do $$ begin
  if current_setting('listen_addresses') <> '' then raise 'others can connect'; end if;
  if exists (select from pg_authid where rolpassword is not null) then raise 'a password is in it'; end if;
end $$;
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TOOLKIT_STATE_DIR", str(tmp_path / "state"))
    return tmp_path / "state"


async def test_while_a_data_directory_is_prepared_nobody_gets_in(tmp_path: Path) -> None:
    """A migration looks around: what is planted then would be in every later stack."""
    (tmp_path / "1_look.sql").write_text(f"-- {tmp_path}\n{NOBODY_ELSE}")
    async with LocalStack(migrations=tmp_path) as stack:
        with psycopg.connect(stack.admin_url) as db:
            known = db.execute("select rolname from pg_authid where rolpassword is not null order by 1")
            assert known.fetchall() == [("authenticator",), ("postgres",), ("supabase_admin",)]


async def test_tcp_opens_when_no_earlier_password_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install, data = binaries.find_install(binaries.DEFAULT, cache_dir()), tmp_path / "data"
    postgres.init_data(install, data)
    before = postgres.EmbeddedPostgres(install, data, password="known", durable=True)
    await before.start()
    await before.stop()
    server = postgres.EmbeddedPostgres(install, data, password="new", durable=True)
    tries: list[str] = []

    async def trying() -> None:
        with pytest.raises(psycopg.OperationalError) as refused:
            await psycopg.AsyncConnection.connect(server.database_url.replace("new", "known"))
        tries.append(str(refused.value))
        await set_roles()

    set_roles = server._set_roles
    monkeypatch.setattr(server, "_set_roles", trying)
    await server.start()
    try:
        assert "no pg_hba.conf entry" in tries[0]
        with psycopg.connect(server.database_url):
            pass
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(server.database_url.replace("new", "known"))
    finally:
        await server.stop()


CONNECT = """
import socket, struct, sys
text = b"user\\0supabase_admin\\0database\\0postgres\\0\\0"
with socket.socket(socket.AF_UNIX) as it:
    it.connect(sys.argv[1])
    it.sendall(struct.pack("!ii", 8 + len(text), 196608) + text)
    print(it.recv(4096).decode(errors="replace"))
"""


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root runs Postgres as somebody else"
)
def test_the_account_that_postgres_runs_as_is_not_let_in(stack: LocalStack) -> None:
    user = unprivileged_user()
    assert user is not None
    query = parse_qs(urlsplit(stack.admin_url).query)
    address = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
    python = [os.path.realpath(sys.executable), "-I", "-S", "-c", CONNECT, address]
    if not reachable(Path(python[0]), user):
        pytest.skip("that account cannot run this Python")
    done = subprocess.run(
        python, capture_output=True, text=True, user=user.uid, group=user.gid, extra_groups=[], check=True
    )
    assert "Peer authentication failed" in done.stdout


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def readable_by_others(root: Path) -> list[str]:
    """Files and folders below, but for sockets, that anybody but their owner can use."""
    found = []
    for path in (root, *root.rglob("*")):
        with suppress(FileNotFoundError):  # Postgres is at work: some of its files live for a moment
            found.append((path, path.lstat().st_mode))
    return [
        f"{path} {stat.filemode(mode)}" for path, mode in found if mode & 0o77 and not stat.S_ISSOCK(mode)
    ]


async def test_what_is_kept_is_its_owners_alone(tmp_path: Path, state: Path) -> None:
    """Whatever the umask is."""
    with umask(0):
        async with LocalStack(data_dir=tmp_path / "data", publish=True):
            (run,) = (state / "run").iterdir()
            assert {path.name for path in run.iterdir()} >= {"stack.json", "postgres.log", "postgrest.log"}
            assert readable_by_others(run) == []
            assert readable_by_others(tmp_path / "data") == []

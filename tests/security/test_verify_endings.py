"""How verify and migrate end: interrupted anywhere, with a full disk, with a password in the address."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from realtime_toolkit import migrate, verify
from realtime_toolkit.errors import ToolkitError
from tests.integration.migrating import NO_TRANSACTION, recorded, rows, run, tables, write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = str(Path(sys.executable).parent / "realtime-toolkit")


@contextmanager
def started(url: str, cwd: Path, *args: str) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, "DATABASE_URL": as_url(url)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([PROGRAM, *args], cwd=cwd, env=env, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def as_url(dsn: str) -> str:
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    return "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**parts)


ASLEEP = "select pid from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"


def until(url: str, query: str, *, there: bool = True) -> None:
    deadline = time.monotonic() + 20
    while bool(rows(url, query)) is not there:
        assert time.monotonic() < deadline, f"still {'no ' if there else ''}rows: {query}"
        time.sleep(0.02)


# -- interrupted ------------------------------------------------------------------------------------------

SLEEPY = """
create table public.naps (id serial primary key, user_id uuid not null);
alter table public.naps enable row level security;
create policy own on public.naps for all to authenticated using (user_id = (select auth.uid()));
alter publication supabase_realtime add table public.naps;
create function public.nap() returns trigger language plpgsql as $$ begin perform pg_sleep(12); return new; end $$;
create trigger nap before insert on public.naps for each row execute function public.nap();
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("args", [(), ("--pgtap", "access.sql"), ("LEK",)])
def test_verify_interrupted_at_a_probe(
    project: Callable[..., str],
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    args: tuple[str, ...],
) -> None:
    url = project(SLEEPY)
    with started(url, tmp_path, "verify", *args) as process:
        until(url, ASLEEP)
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (code, "", "interrupted\n")
    until(url, ASLEEP, there=False)
    assert rows(url, "select last_value, is_called from public.naps_id_seq") == [(1, False)]
    assert not list(tmp_path.glob("*.sql"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("command", ["up", "plan"])
def test_migrate_interrupted_in_a_statement(
    project: Callable[..., str],
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    command: str,
) -> None:
    url = project()
    write(tmp_path / "m", a="create table first(); select pg_sleep(30); create table last();")
    with started(url, tmp_path, "migrate", command, "--dir", "m") as process:
        until(url, ASLEEP)
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err.splitlines()[-1]) == (code, "interrupted")
    assert "Traceback" not in err
    until(url, ASLEEP, there=False)
    assert "first" not in tables(url)
    assert not [entry for entry in migrate.status(url, tmp_path / "m").entries if entry.state != "pending"]
    write(tmp_path / "m2", a="create table first();")
    assert migrate.up(url, tmp_path / "m2").applied, "the lock was given back"


def test_migrate_interrupted_outside_a_transaction_goes_on(
    project: Callable[..., str], tmp_path: Path
) -> None:
    url = project()
    run(url, "create table naps (seconds int); insert into naps values (30)")
    steps = "create table first(); select pg_sleep(seconds) from naps; create table last();"
    write(tmp_path / "m", a=NO_TRANSACTION + steps)
    with started(url, tmp_path, "migrate", "up", "--dir", "m") as process:
        until(url, ASLEEP)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert (process.returncode, err.splitlines()[-1]) == (130, "interrupted")
    run(url, "update naps set seconds = 0")
    migrate.up(url, tmp_path / "m")
    assert {"first", "last"} <= tables(url)


def test_migrate_interrupted_while_it_waits_for_the_lock(project: Callable[..., str], tmp_path: Path) -> None:
    url = project()
    write(tmp_path / "m", a="create table first();")
    with psycopg.connect(url, autocommit=True) as holder:
        holder.execute("select pg_advisory_lock(%s, %s)", migrate.session.LOCK)
        with started(url, tmp_path, "migrate", "up", "--dir", "m") as process:
            assert process.stderr is not None
            assert "waiting up to 60 s" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "interrupted\n")


# -- sequences --------------------------------------------------------------------------------------------

NUMBERED = """
create sequence public.elsewhere;
create table public.bills (
  id bigint generated always as identity (start with 30 increment by 3) primary key, "a""b" serial, number bigint, user_id uuid not null);
create function public.number() returns trigger language plpgsql as $$ begin new.number := nextval('public.elsewhere'); return new; end $$;
create trigger number before insert on public.bills for each row execute function public.number();
alter table public.bills enable row level security;
create policy own on public.bills for all to authenticated using (user_id = (select auth.uid()));
grant all on public.bills to authenticated, service_role;
grant usage on all sequences in schema public to authenticated, service_role;
alter publication supabase_realtime add table public.bills;
insert into public.bills (user_id) values (gen_random_uuid()), (gen_random_uuid());
"""
NUMBERS = (
    "select (select (last_value, is_called)::text from public.bills_id_seq), (select last_value from public.elsewhere), "
    'last_value, is_called from public."bills_a""b_seq"'
)


def test_no_sequence_moves(project: Callable[..., str], tmp_path: Path) -> None:
    url = project(NUMBERED)
    before = rows(url, NUMBERS)
    report = verify.verify(url, checks=["ACC", "LEK", "UPD010"])
    assert report.matrices is not None
    assert {cell.result.answer.value for cell in report.matrices.access if cell.whose == "own"} >= {"allow"}
    verify.pgtap(url)
    assert rows(url, NUMBERS) == before
    assert report.notes == ()


def test_a_sequence_that_somebody_is_at_is_not_touched_and_told(project: Callable[..., str]) -> None:
    url = project(NUMBERED)
    with psycopg.connect(url) as other:
        other.execute("select nextval('public.elsewhere')")
        report = verify.verify(url, checks=["ACC"])
        assert report.matrices is not None
        assert report.matrices.moving == ("public.elsewhere",)
        other.execute("select nextval('public.elsewhere')")
    for form in ("text", "json", "github"):
        assert "stay taken" in verify.render(report, form)
        assert "public.elsewhere" in verify.render(report, form)


def test_elsewhere_others_never_wait_for_a_number(
    project: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = project(NUMBERED)
    monkeypatch.setattr(verify, "is_local", lambda _: False)
    (note,) = verify.verify(url, checks=["ACC"], allow_writes=True).notes
    assert 'public."bills_a""b_seq", public.bills_id_seq, public.elsewhere' in note


# -- streams ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "args", [("--help",), ("verify", "--help"), ("verify",), ("migrate", "status", "--json")]
)
@pytest.mark.parametrize("stderr", [None, "/dev/full"])
def test_a_full_disk_is_a_line(
    project: Callable[..., str], tmp_path: Path, args: tuple[str, ...], stderr: str | None
) -> None:
    env = {**os.environ, "DATABASE_URL": as_url(project())}
    with Path("/dev/full").open("wb") as full, Path(stderr or os.devnull).open("wb") as there:
        error = there if stderr else subprocess.PIPE
        done = subprocess.run(
            [PROGRAM, *args], stdout=full, stderr=error, cwd=tmp_path, env=env, timeout=50, check=False
        )
    assert done.returncode == 3
    assert stderr or done.stderr == b"error: No space left on device\n"


def test_a_stream_that_knows_no_such_letter(project: Callable[..., str], tmp_path: Path) -> None:
    url = project(
        'create table public."😀é" (id int); alter publication supabase_realtime add table public."😀é"'
    )
    env = {
        **os.environ,
        "DATABASE_URL": as_url(url),
        "PYTHONIOENCODING": "ascii",
        "PYTHONUTF8": "0",
        "LC_ALL": "C",
    }
    done = subprocess.run(
        [PROGRAM, "verify", "--json"], cwd=tmp_path, env=env, capture_output=True, timeout=50, check=False
    )
    assert (done.returncode, done.stderr) == (1, b"")
    assert '"public.\\"😀é\\""' in done.stdout.decode()


# -- secrets ----------------------------------------------------------------------------------------------

ADDRESSES = [
    "postgresql://somebody:s3c{}ret@127.0.0.1:9/x",
    "postgresql://somebody:s3c{}ret@127.0.0.1:nine/x",
    "postgresql://somebody:s3c{}ret@no such host/x",
    "postgresql://somebody:s3c{}ret@127.0.0.1:9/x?sslmode=nonsense",
    "postgresql://somebody:s3c{}ret@127.0.0.1:9/x?what",
    "host=127.0.0.1 port=9 password=s3c{}ret user=somebody",
]


@pytest.mark.parametrize(
    "letter",
    [
        "",
        "@",
        "/",
        "?",
        "#",
        ":",
        "%",
        "%zz",
        "%40",
        " ",
        '"',
        "'",
        "\\",
        "[",
        "=",
        "\n",
        "é",
        "@h/",
        "?a=b@",
    ],
)
@pytest.mark.parametrize("address", ADDRESSES)
def test_no_error_shows_a_password(address: str, letter: str, tmp_path: Path) -> None:
    dsn = address.format(letter)
    write(tmp_path, a="select 1")
    for attempt in (
        lambda: verify.verify(dsn),
        lambda: migrate.up(dsn, tmp_path, wait=0),
        lambda: migrate.status(dsn, tmp_path),
    ):
        with pytest.raises(ToolkitError) as raised:
            attempt()
        assert "s3c" not in str(raised.value)
        assert "ret@" not in str(raised.value)
        assert "ret " not in f"{raised.value} "


@pytest.mark.parametrize(
    "statement",
    ["create role x login password 's3cret'; select 1/0", "alter role nobody_there password 's3cret'", "alter role nobody_there password E's3''cret'",
     "create user mapping for x server y options (user 'a', password 's3cret')"],
)  # fmt: skip
def test_the_line_of_a_failed_statement_shows_no_password(
    project: Callable[..., str], tmp_path: Path, statement: str
) -> None:
    url = project()
    write(tmp_path, a=statement)
    with pytest.raises(ToolkitError) as raised:
        migrate.up(url, tmp_path)
    assert "s3" not in str(raised.value)
    assert not recorded(url)

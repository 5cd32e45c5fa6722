"""The commands as a person types them, in processes of their own, on one stack."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import psycopg
import pytest

from realtime_toolkit.settings import mint_token
from realtime_toolkit.stack import LocalStack

PROGRAM = str(Path(sys.executable).parent / "realtime-toolkit")
ANSWER = "Der Zug fährt um 9:41 Uhr. 列車は定刻です。 🚆 Ende.\n" * 40

starts_stack = pytest.mark.needs_stack("starts a stack of its own")

Start = Callable[..., subprocess.Popen[str]]
Call = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def env(stack: LocalStack) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SUPABASE_", "DATABASE_URL"))}
    return {**clean, **stack.env()}


@pytest.fixture
def call(env: dict[str, str], tmp_path: Path) -> Call:
    def call(*args: str, **changes: Any) -> subprocess.CompletedProcess[str]:
        stdin = changes.pop("stdin", "")
        return subprocess.run(
            [PROGRAM, *args],
            check=False,
            env={**env, **changes},
            cwd=tmp_path,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=50,
        )

    return call


@pytest.fixture
def start(env: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def start(*args: str, **changes: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [PROGRAM, *args],
            env={**env, **changes},
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.fixture
def answer(tmp_path: Path) -> Path:
    path = tmp_path / "answer.txt"
    path.write_text(ANSWER, encoding="utf-8")
    return path


def lines(process: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


def until(events: Iterator[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    """Read up to and with the first event that has these values."""
    seen = []
    for event in events:
        seen.append(event)
        if wanted.items() <= event.items():
            return seen
    raise AssertionError(f"the process ended without {wanted}; it said {seen}")


def one_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """The only line on stderr of a command that failed as it should."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.strip().splitlines()
    return line


# --- the path from a token to a subscriber ----------------------------------------------------------------


def test_listen_hears_what_agent_run_streams(
    start: Start, call: Call, answer: Path, user: str, conversation: str
) -> None:
    listener = start("listen", conversation, "--user", user, "--json")
    events = lines(listener)
    until(events, type="state", state="synced")
    done = call("agent", "run", "--conversation", conversation, "--interval", "0.05", "--json", str(answer))
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["status"] == "completed"
    assert outcome["length"] == len(ANSWER)

    seen = []
    for event in events:
        seen.append(event)
        row = event.get("row") or {}
        if event["type"] == "change" and row.get("status") == "completed" and row.get("role") == "assistant":
            break
    assert "".join(e["text"] for e in seen if e["type"] == "text") == ANSWER
    assert all("at" in e for e in seen)
    listener.send_signal(signal.SIGINT)
    assert listener.wait(10) == 0


def test_agent_run_reads_stdin_in_row_mode(
    call: Call, user: str, conversation: str, stack: LocalStack
) -> None:
    done = call(
        "agent", "run", "--conversation", conversation, "--user", user, "--mode", "row", "-", stdin=ANSWER
    )
    assert done.returncode == 0, done.stderr
    with psycopg.connect(stack.database_url) as db:
        rows = db.execute(
            "select content, status from messages where conversation_id = %s and role = 'assistant'",
            [conversation],
        ).fetchall()
    assert rows == [(ANSWER, "completed")]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_agent_leaves_cancelled_rows_with_all_the_text_so_far(
    start: Start, user: str, conversation: str, stack: LocalStack, number: signal.Signals
) -> None:
    agent = start("agent", "run", "--conversation", conversation, "--interval", "0.02", "-")
    assert agent.stdin is not None
    agent.stdin.write("the beginning ")
    agent.stdin.flush()
    with psycopg.connect(stack.database_url, autocommit=True) as db:
        wait_for(db, "select 1 from message_chunks where conversation_id = %s", conversation)
        agent.stdin.write("and more")
        agent.stdin.flush()
        wait_for(
            db,
            "select 1 from message_chunks where conversation_id = %s having string_agg(body, '' order by seq)"
            " = 'the beginning and more'",
            conversation,
        )
        agent.send_signal(number)
        assert agent.wait(15) == 128 + number
        message = db.execute(
            "select status, content from messages where conversation_id = %s and role = 'assistant'",
            [conversation],
        ).fetchone()
        task = db.execute("select status from tasks where conversation_id = %s", [conversation]).fetchone()
    assert message == ("cancelled", "the beginning and more")
    assert task == ("cancelled",)


def wait_for(db: psycopg.Connection[Any], query: str, *args: Any, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while db.execute(query, args).fetchone() is None:
        assert time.monotonic() < deadline, f"never true: {query}"
        time.sleep(0.02)


def test_listen_comes_back_from_a_stored_cursor(
    start: Start, call: Call, answer: Path, user: str, conversation: str, tmp_path: Path
) -> None:
    cursor = str(tmp_path / "cursor.json")
    first = start("listen", conversation, "--user", user, "--json", "--cursor", cursor)
    until(lines(first), type="state", state="synced")
    first.send_signal(signal.SIGTERM)
    first.wait(10)
    assert call("agent", "run", "--conversation", conversation, str(answer)).returncode == 0
    second = start("listen", conversation, "--user", user, "--json", "--cursor", cursor)
    seen = until(lines(second), type="state", state="synced")
    assert "".join(e["text"] for e in seen if e["type"] == "text") == ANSWER
    assert [e for e in seen if e["type"] == "recovered"]


# --- proof ------------------------------------------------------------------------------------------------


def test_reconcile_once_says_in_sync(call: Call, answer: Path, user: str, conversation: str) -> None:
    call("agent", "run", "--conversation", conversation, str(answer))
    done = call("reconcile", f"conversation:{conversation}", "--user", user, "--once", "--json")
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["verdict"] == "in_sync"
    assert verdict["rows"] >= 3


def test_reconcile_for_a_while_counts_the_delivery(
    start: Start, call: Call, answer: Path, user: str, conversation: str
) -> None:
    watch = start("reconcile", conversation, "--user", user, "--for", "4", "--json")
    call("agent", "run", "--conversation", conversation, "--interval", "0.05", "--rate", "500", str(answer))
    out, err = watch.communicate(timeout=30)
    assert watch.returncode == 0, err
    report = json.loads(out)
    assert report["verdict"] == "in_sync"
    assert report["committed"] > 0
    assert report["lost"] == 0
    assert report["live"] + report["recovered"] == report["committed"]
    assert report["delivery_ratio"] == pytest.approx(report["live"] / report["committed"])


# --- bad input ----------------------------------------------------------------------------------------------


def test_a_conversation_that_is_not_there(call: Call, answer: Path) -> None:
    missing = str(uuid.uuid4())
    assert missing in one_line(call("agent", "run", "--conversation", missing, str(answer)), 2)


def test_a_conversation_of_somebody_else(
    call: Call, answer: Path, conversation: str, stack: LocalStack
) -> None:
    stranger = str(uuid.uuid4())
    done = call("agent", "run", "--conversation", conversation, "--user", stranger, str(answer))
    assert conversation in one_line(done, 2)
    with psycopg.connect(stack.database_url) as db:
        count = db.execute("select count(*) from tasks where conversation_id = %s", [conversation]).fetchone()
    assert count == (0,)


def test_reconcile_says_when_there_is_nothing_to_compare(call: Call, conversation: str) -> None:
    done = call("reconcile", conversation, "--user", str(uuid.uuid4()), "--once", "--json")
    assert f"conversation:{conversation}" in one_line(done, 0)
    assert json.loads(done.stdout)["rows"] == 0


def test_a_file_that_is_not_utf8(call: Call, conversation: str, tmp_path: Path, stack: LocalStack) -> None:
    path = tmp_path / "latin1.txt"
    path.write_bytes("gültig bis hier ".encode() + "ungültig".encode("latin-1"))
    line = one_line(call("agent", "run", "--conversation", conversation, str(path)), 2)
    assert "latin1.txt" in line
    assert "UTF-8" in line


def test_nobody_answers(call: Call, user: str, conversation: str) -> None:
    nowhere = "http://127.0.0.1:9"
    for command in (
        ("listen", conversation, "--user", user),
        ("reconcile", conversation, "--user", user, "--once"),
        ("agent", "run", "--conversation", conversation, "-"),
    ):
        assert "127.0.0.1:9" in one_line(call(*command, SUPABASE_URL=nowhere), 3)


def test_no_database_answers(call: Call) -> None:
    nowhere = "postgresql://postgres:secret-word@127.0.0.1:9/postgres"
    for command in (("migrate", "status"), ("migrate", "up"), ("verify",)):
        line = one_line(call(*command, DATABASE_URL=nowhere), 3)
        assert "127.0.0.1" in line
        assert "secret-word" not in line


def test_a_wrong_key(call: Call, user: str, conversation: str) -> None:
    wrong = mint_token("another-secret-of-at-least-32-characters", None, role="anon")
    service = mint_token("another-secret-of-at-least-32-characters", None, role="service_role")
    line = one_line(call("listen", conversation, "--user", user, SUPABASE_ANON_KEY=wrong), 3)
    assert wrong not in line
    done = call("agent", "run", "--conversation", conversation, "-", SUPABASE_SERVICE_ROLE_KEY=service)
    assert service not in one_line(done, 3)


def test_an_expired_token(call: Call, user: str, conversation: str, stack: LocalStack) -> None:
    expired = mint_token(stack.jwt_secret, user, now=time.time() - 7200, expires_in=3600)
    line = one_line(call("listen", conversation, SUPABASE_ACCESS_TOKEN=expired, SUPABASE_JWT_SECRET=""), 3)
    assert "expired" in line


def test_a_token_that_expired_just_now(
    call: Call, conversation: str, answer: Path, stack: LocalStack
) -> None:
    expired = stack.token(str(uuid.uuid4()), expires_in=-1)
    done = call("agent", "run", "--conversation", conversation, str(answer), SUPABASE_ACCESS_TOKEN=expired)
    assert "expired" in one_line(done, 3)


def test_a_secret_too_short_for_a_project(call: Call, user: str, conversation: str) -> None:
    line = one_line(call("listen", conversation, "--user", user, SUPABASE_JWT_SECRET="short"), 3)
    assert "SUPABASE_JWT_SECRET" in line


@pytest.mark.parametrize("url", ["nonsense", "http://[", "http://127.0.0.1:abc", "http://127.0.0.1:99999"])
def test_an_address_that_is_none(call: Call, user: str, conversation: str, url: str) -> None:
    assert url in one_line(call("listen", conversation, "--user", user, SUPABASE_URL=url), 3)


def test_a_settings_file_that_cannot_be_read(call: Call, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"SUPABASE_URL=\xff\n")
    assert ".env is not UTF-8" in one_line(call("migrate", "status"), 3)
    assert "other.env" in one_line(call("--env-file", "other.env", "migrate", "status"), 3)


@pytest.mark.parametrize("folder", ["TOOLKIT_CACHE_DIR", "TOOLKIT_STATE_DIR"])
def test_a_folder_that_cannot_be_made(call: Call, tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").touch()
    below = str(tmp_path / "file" / "folder")
    assert below in one_line(call("stack", "run", "--", "true", **{folder: below}), 3)


def test_a_data_directory_below_a_file(call: Call, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "file/data" in one_line(call("stack", "up", "--port", "0", "--data-dir", "file/data"), 3)


@pytest.mark.parametrize("streams", ["</dev/null", "<&-", "</dev/null >&-"])
def test_agent_run_where_standard_streams_are_closed_or_null(
    env: dict[str, str], conversation: str, streams: str, stack: LocalStack
) -> None:
    command = f'exec "$0" agent run --conversation {conversation} - {streams}'
    done = subprocess.run(
        ["sh", "-c", command, PROGRAM], check=False, env=env, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    with psycopg.connect(stack.database_url) as db:
        statuses = db.execute(
            "select status from tasks where conversation_id = %s", [conversation]
        ).fetchall()
    assert statuses == [("completed",)]


def test_listen_ends_when_nobody_reads_on(env: dict[str, str], user: str, conversation: str) -> None:
    command = f'"$0" listen {conversation} --user {user} --json | head -1; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", command, PROGRAM], check=False, env=env, capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_a_full_standard_output(env: dict[str, str]) -> None:
    command = 'exec "$0" stack faults > /dev/full'
    done = subprocess.run(
        ["sh", "-c", command, PROGRAM], check=False, env=env, capture_output=True, text=True, timeout=30
    )
    assert "space" in one_line(done, 3)


def test_a_missing_setting_is_named(call: Call, user: str, conversation: str) -> None:
    assert "SUPABASE_URL" in one_line(call("listen", conversation, "--user", user, SUPABASE_URL=""), 3)


@pytest.mark.parametrize("scope", ["nonsense", ":", "conversation:", "UPPER:1"])
def test_a_malformed_scope_is_a_usage_error(call: Call, scope: str) -> None:
    done = call("listen", scope, "--json")
    assert done.returncode == 2
    assert "scope" in done.stderr


# --- schema -----------------------------------------------------------------------------------------------


def test_init_copies_the_migrations_and_overwrites_nothing(call: Call, tmp_path: Path) -> None:
    assert call("init", str(tmp_path / "app")).returncode == 0
    copied = sorted((tmp_path / "app/supabase/migrations").glob("*.sql"))
    shipped = sorted((Path(__file__).parents[2] / "supabase/migrations").glob("*.sql"))
    assert [p.read_bytes() for p in copied] == [p.read_bytes() for p in shipped]
    copied[0].write_text("-- mine\n")
    digest = hashlib.sha256(copied[1].read_bytes()).hexdigest()
    again = call("init", str(tmp_path / "app"))
    assert copied[0].name in again.stderr + again.stdout
    assert copied[0].read_text() == "-- mine\n"
    assert hashlib.sha256(copied[1].read_bytes()).hexdigest() == digest


def test_migrate_status_is_up_to_date_on_the_stack(call: Call) -> None:
    done = call("migrate", "status", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["entries"]
    assert {entry["state"] for entry in report["entries"]} == {"applied"}


def test_verify_passes_on_our_own_schema(call: Call) -> None:
    """Also compared with the snapshot: a migration that widens or narrows access has to say so there."""
    snapshot = Path(__file__).parents[2] / "supabase/access.snapshot"
    done = call("verify", "--json", "--strict", "--allow-writes", "--snapshot", str(snapshot))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["findings"] == []
    assert "SNP001" in [check["code"] for check in report["checks"] if check["outcome"] == "PASS"]


# --- the stack --------------------------------------------------------------------------------------------


@starts_stack
def test_stack_run_gives_the_environment_and_the_exit_code(call: Call) -> None:
    code = (
        "import os, sys, urllib.request as u;"
        "names = ['SUPABASE_URL', 'SUPABASE_ANON_KEY', 'SUPABASE_SERVICE_ROLE_KEY', 'SUPABASE_JWT_SECRET', 'DATABASE_URL'];"
        "assert all(os.environ[n] for n in names);"
        "r = u.Request(os.environ['SUPABASE_URL'] + '/rest/v1/conversations', headers={'apikey': os.environ['SUPABASE_SERVICE_ROLE_KEY']});"
        "assert u.urlopen(r).status == 200;"
        "sys.exit(7)"
    )
    done = call("stack", "run", "--", sys.executable, "-c", code)
    assert done.returncode == 7, done.stderr


@starts_stack
def test_stack_up_prints_its_environment_and_stops_on_sigterm(
    start: Start, call: Call, tmp_path: Path
) -> None:
    state = {"XDG_RUNTIME_DIR": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    stack = start("stack", "up", "--port", "0", **state)
    assert stack.stderr is not None
    told = []
    for line in stack.stderr:
        told.append(line)
        if "stop with Ctrl-C" in line:
            break
    env = dict(line.split("=", 1) for line in call("stack", "env", **state).stdout.splitlines())
    assert env["SUPABASE_URL"].startswith("http://127.0.0.1:")
    password = urlsplit(env["DATABASE_URL"]).password
    assert password
    assert env["SUPABASE_URL"] in "".join(told)
    assert "Postgres 17." in "".join(told)
    assert password not in "".join(told)  # a terminal is shown, shared and kept
    assert json.loads(call("stack", "env", "--json", **state).stdout) == env
    with psycopg.connect(env["DATABASE_URL"]) as db:
        assert db.execute("select count(*) from public.messages").fetchone() == (0,)
    claims = jwt.decode(
        call("stack", "token", "--user", str(uuid.uuid4()), **{**state, **env}).stdout.strip(),
        env["SUPABASE_JWT_SECRET"],
        algorithms=["HS256"],
        audience="authenticated",
    )
    assert claims["role"] == "authenticated"
    stack.send_signal(signal.SIGTERM)
    assert stack.wait(15) == 0
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(env["DATABASE_URL"], connect_timeout=3)
    assert call("stack", "env", **state).returncode == 3


@starts_stack
def test_which_postgres_a_stack_runs(call: Call) -> None:
    code = (
        "import os, psycopg; print(psycopg.connect(os.environ['DATABASE_URL']).info.server_version // 10000)"
    )
    run = ("stack", "run", "--", sys.executable, "-c", code)
    assert call(*run, TOOLKIT_POSTGRES="18").stdout == "18\n"
    assert call(*run[:2], "--postgres", "16", *run[2:], TOOLKIT_POSTGRES="18").stdout == "16\n"
    assert "not 'postgres:17'" in one_line(call("stack", "up", "--postgres", "postgres:17"), 3)
    assert "not '9'" in one_line(call("stack", "run", "--", "true", TOOLKIT_POSTGRES="9"), 3)


@pytest.mark.needs_stack("faults are the stack's")
def test_a_fault_is_injected_by_name(call: Call, stack: LocalStack) -> None:
    done = call("stack", "fault", "L9", "--rate", "0")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["name"] == "send-swallowed"
    stack.faults.clear("L9")
    assert "nonsense" in one_line(call("stack", "fault", "nonsense"), 2)
    assert "nonsense" in one_line(call("stack", "up", "--fault", "nonsense"), 2)
    assert len(call("stack", "faults").stdout.splitlines()) > 20


# --- the demo ---------------------------------------------------------------------------------------------


@starts_stack
@pytest.mark.timeout(120)
def test_the_demo_passes_and_its_figures_add_up(call: Call, tmp_path: Path) -> None:
    text = tmp_path / "short.txt"
    text.write_text("Ein Satz, 一句话, une phrase. " * 30, encoding="utf-8")
    done = call("demo", "--json", "--input", str(text))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is True
    names = [scenario["name"] for scenario in report["scenarios"]]
    assert names == ["normal", "disconnect", "several devices", "long task", "network jitter"]
    for scenario in report["scenarios"]:
        assert scenario["verdict"] == "in_sync", scenario
        assert scenario["sent"] == scenario["live"] + scenario["recovered"]
        assert scenario["lost"] == scenario["duplicates"] == 0
    assert report["scenarios"][3]["recovered"] > 0

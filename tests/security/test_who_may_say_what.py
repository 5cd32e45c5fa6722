"""Each column of the chat tables as each role: a client says what a user has to say, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from tests.integration.acting import Connection, acting, call, column, new_id, sqlstate, value

if TYPE_CHECKING:
    from realtime_toolkit.stack import LocalStack

STAMPS = {"created_at", "updated_at", "version", "changed_in"}
"""Whatever is sent, the database keeps these."""
KEYS = {"id", "conversation_id"}
SAMPLES = {
    "status": "'completed'", "progress": "0.5", "error": "'oops'", "attempt": "7", "lease_owner": "'me'",
    "lease_expires_at": "now()", "started_at": "now()", "completed_at": "now()", "agent_role": "'another'",
    "prompt": "'another'", "role": "'tool'", "content": "'another'", "task_id": "gen_random_uuid()",
    "version": "99", "changed_in": "'5'", "created_at": "now()", "updated_at": "now()",
}  # fmt: skip
MAY_INSERT = {"tasks": {"agent_role", "prompt"}, "messages": {"task_id", "role"}}
REFUSED_AT_INSERT = {"tasks": {"status"}, "messages": {"status", "content"}}
"""Of an assistant's message. The rest is as in every new row, whatever was sent."""
MAY_UPDATE: dict[str, set[str]] = {"tasks": {"agent_role", "prompt"}, "messages": set()}
"""Of a pending task and an assistant's message."""


@pytest.fixture
async def task(db: Connection, conversation: str) -> str:
    return str(await value(db, "insert into tasks (conversation_id) values (%s) returning id", conversation))


@pytest.fixture
async def message(db: Connection, conversation: str, task: str) -> str:
    query = "insert into messages (conversation_id, task_id) values (%s, %s) returning id"
    return str(await value(db, query, conversation, task))


async def columns(db: Connection, table: str) -> set[str]:
    query = "select attname::text from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped"
    return set(await column(db, query, table))


@pytest.mark.parametrize("table", ["tasks", "messages"])
async def test_each_column_that_a_client_inserts(
    db: Connection, user: str, conversation: str, task: str, table: str
) -> None:
    fresh = f"insert into {table} (conversation_id) values (%s) returning to_jsonb({table})"
    refused, taken = set(), set()
    for name in sorted(await columns(db, table) - KEYS):
        sample = repr(task) if name == "task_id" else SAMPLES[name]
        query = (
            f"insert into {table} (conversation_id, {name}) values (%s, {sample}) returning to_jsonb({table})"
        )
        async with db.transaction(force_rollback=True), acting(db, user):
            untouched = await value(db, fresh, conversation)
            try:
                made = await value(db, query, conversation)
                taken |= {key for key in made if made[key] != untouched[key]}
            except psycopg.errors.InsufficientPrivilege:
                refused.add(name)
                raise psycopg.Rollback from None
        async with db.transaction(force_rollback=True), acting(db, role="anon"):
            assert await sqlstate(db, query, conversation) == "42501"
    assert taken - STAMPS - KEYS == MAY_INSERT[table]
    assert refused == REFUSED_AT_INSERT[table]


@pytest.mark.parametrize("table", ["tasks", "messages"])
async def test_each_column_that_a_client_updates(
    db: Connection, user: str, task: str, message: str, table: str
) -> None:
    row = task if table == "tasks" else message
    refused = set()
    for name in sorted(await columns(db, table) - KEYS):
        query = f"update {table} set {name} = {SAMPLES[name]} where id = '{row}'"
        async with db.transaction(force_rollback=True), acting(db, user):
            before = await value(db, f"select to_jsonb(t) from {table} t where id = %s", row)
            try:
                assert await sqlstate(db, query) == "42501"
                refused.add(name)
            except AssertionError:
                after = await value(db, f"select to_jsonb(t) from {table} t where id = %s", row)
                changed = {key for key in after if after[key] != before[key]} - STAMPS
                assert changed <= {name}
        async with db.transaction(force_rollback=True), acting(db, role="anon"):
            assert await sqlstate(db, query) == "42501"
    assert refused == await columns(db, table) - STAMPS - KEYS - MAY_UPDATE[table]


@pytest.mark.parametrize("status", ["running", "completed", "failed"])
async def test_the_only_status_that_a_client_says_is_cancelled(
    db: Connection, user: str, task: str, message: str, status: str
) -> None:
    async with acting(db, user):
        assert await sqlstate(db, "update tasks set status = %s where id = %s", status, task) == "42501"
        other = "streaming" if status == "running" else status
        assert await sqlstate(db, "update messages set status = %s where id = %s", other, message) == "42501"
        await db.execute("update tasks set status = 'cancelled' where id = %s", [task])
    assert await value(db, "select status from tasks where id = %s", task) == "cancelled"
    assert await value(db, "select status from messages where id = %s", message) == "cancelled"


async def test_what_a_running_task_was_asked_stays(db: Connection, user: str, task: str) -> None:
    await call(db, "claim_task", worker="w", task=task)
    async with acting(db, user):
        assert await sqlstate(db, "update tasks set prompt = 'x' where id = %s", task) == "42501"


async def test_a_users_own_words_are_theirs_until_completed(
    db: Connection, user: str, conversation: str
) -> None:
    insert = (
        "insert into messages (conversation_id, role, content, status) values (%s, %s, %s, %s) returning id"
    )
    async with acting(db, user):
        said = await value(db, insert, conversation, "user", "Hello", "completed")
        for change in ("content = 'Bye'", "role = 'system'", "status = 'failed'", "attempt = 2"):
            assert await sqlstate(db, f"update messages set {change} where id = %s", said) in (
                "42501",
                "RT002",
            )
        draft = await value(db, insert, conversation, "user", "Hel", "pending")
        await db.execute("update messages set content = 'Hello', status = 'completed' where id = %s", [draft])
        for role, content, status in (
            ("system", "", "pending"),
            ("assistant", "forged", "pending"),
            ("assistant", "", "completed"),
            ("tool", "forged", "pending"),
            ("user", "x", "failed"),
        ):
            assert await sqlstate(db, insert, conversation, role, content, status) == "42501"
    stored = "select role || content || status from messages where id = any (%s)"
    assert await column(db, stored, [said, draft]) == ["userHellocompleted"] * 2


async def test_one_statement_of_a_worker_opens_nothing_for_the_next(
    db: Connection, user: str, conversation: str, task: str
) -> None:
    """GraphQL makes several calls in one transaction."""
    async with acting(db, user):
        await value(db, "select claim_task('w', 30, %s)", task)
        assert await sqlstate(db, "update tasks set attempt = 9 where id = %s", task) == "42501"
        await value(db, "select begin_answer(%s, 'w', 1)", task)
        await value(db, "select set_config('realtime_toolkit.work', '1', true)")  # no such transaction
        assert await sqlstate(db, "update tasks set progress = 1 where id = %s", task) == "42501"


LIMITS = {
    "conversations.title": 8 << 20, "tasks.prompt": 8 << 20, "tasks.agent_role": 200, "messages.content": 64 << 20,
}  # fmt: skip


@pytest.mark.parametrize("place", LIMITS)
async def test_every_text_has_a_limit(db: Connection, conversation: str, place: str) -> None:
    table, name = place.split(".")
    scope = ("", "") if table == "conversations" else ("conversation_id, ", f"'{conversation}', ")
    owner = ("user_id, ", "gen_random_uuid(), ") if table == "conversations" else ("", "")
    query = f"insert into {table} ({scope[0]}{owner[0]}{name}) values ({scope[1]}{owner[1]}repeat('x', %s))"
    async with db.transaction(force_rollback=True):
        await db.execute(query, [LIMITS[place]])
        assert await sqlstate(db, query, LIMITS[place] + 1) == "23514"


async def test_a_workers_texts_have_limits_too(db: Connection, task: str, message: str) -> None:
    assert await sqlstate(db, "select claim_task(repeat('x', 201), 30, %s)", task) == "23514"
    await call(db, "claim_task", worker="w", task=task)
    assert await sqlstate(db, "select finish_task(%s, 'w', 1, 'failed', repeat('x', 4097))", task) == "23514"
    await call(db, "start_message", message=message, attempt=1)
    assert await sqlstate(db, "select append_chunk(%s, 1, 0, 0, repeat('x', 131073))", message) == "23514"


async def test_no_row_of_one_user_stops_the_reaper(db: Connection, user: str, conversation: str) -> None:
    """cases/security/02, and a row that no client can make any more but that may be there."""
    insert = (
        "insert into tasks (conversation_id, status, lease_owner, lease_expires_at, attempt) "
        "values (%s, 'running', 'dead', %s, %s) returning id"
    )
    async with db.transaction(force_rollback=True):
        async with acting(db, user):
            forged = await value(db, insert, conversation, "2020-01-01", 2147483647)
        state = "select status || attempt from tasks where id = %s"
        assert await value(db, state, forged) == "pending1"
        for _ in range(3):
            await value(db, insert, conversation, "2020-01-01", 2147483647)
        victim = str(await value(db, insert, conversation, "2026-01-01", 1))
        assert victim in await call(db, "reap_tasks", max=2)
        assert await value(db, state, victim) == "pending2"


async def test_a_task_that_cannot_be_claimed_is_passed_over(
    db: Connection, conversation: str, user: str
) -> None:
    role = new_id()
    insert = "insert into tasks (conversation_id, agent_role, prompt) values (%s, %s, %s) returning id"
    async with db.transaction(force_rollback=True):
        await db.execute(
            "create function pg_temp.poison() returns trigger language plpgsql as "
            "$$ begin if new.prompt = 'poison' then raise 'too large'; end if; return new; end $$"
        )
        await db.execute(
            "create trigger a_poison before update on tasks for each row execute function pg_temp.poison()"
        )
        await value(db, insert, conversation, role, "poison")
        good = str(await value(db, insert, conversation, role, "good"))
        assert (await call(db, "claim_task", worker="w", roles=[role]))["id"] == good
        assert (
            await sqlstate(db, "select claim_task('w', 30, null, %s)", [role]) == "P0001"
        )  # nothing else is left


async def test_watermarks_cannot_fill_the_table(db: Connection, user: str) -> None:
    many = "insert into realtime_watermarks (mark) select 'm' || n from generate_series(1, %s) n"
    async with acting(db, user):
        assert await sqlstate(db, many, 101) == "54000"
        for _ in range(7):
            await db.execute(many, [100])
        await value(db, "insert into realtime_watermarks (mark) values ('last') returning id")
        assert await value(db, "select count(*) from realtime_watermarks") <= 500
        assert await column(db, "select mark from realtime_watermarks where mark = 'last'") == ["last"]


async def test_what_runs_sql_from_its_arguments_has_no_route(
    stack: LocalStack, user: str, db: Connection
) -> None:
    """The schema realtime_toolkit is not served, whatever profile is asked for."""
    headers = {"apikey": stack.anon_key, "Authorization": f"Bearer {stack.token(user)}"}
    found = "select proname from pg_proc where pronamespace = 'realtime_toolkit'::regnamespace"
    names = await column(db, found)
    assert {"scope_digest", "put_task", "mark_work"} <= set(names)
    async with httpx.AsyncClient(base_url=stack.url, headers=headers) as http:
        for name in names:
            answer = await http.post(f"/rest/v1/rpc/{name}", json={})
            assert answer.status_code == 404, name
        served = await http.post(
            "/rest/v1/rpc/scope_digest", json={}, headers={"Content-Profile": "realtime_toolkit"}
        )
        assert served.status_code == 406


async def test_over_http_as_a_user(stack: LocalStack, user: str, conversation: str, task: str) -> None:
    headers = {"apikey": stack.anon_key, "Authorization": f"Bearer {stack.token(user)}"}
    row = {"conversation_id": conversation, "attempt": 2147483647, "status": "running", "lease_owner": "x"}
    new = {**headers, "Prefer": "return=representation"}
    async with httpx.AsyncClient(base_url=f"{stack.url}/rest/v1", headers=headers) as http:
        (made,) = (await http.post("/tasks", json=row, headers=new)).json()
        assert (made["attempt"], made["status"], made["lease_owner"]) == (1, "pending", None)
        assert (await http.post("/tasks", json={**row, "status": "failed"})).status_code == 403
        assert (await http.patch(f"/tasks?id=eq.{task}", json={"attempt": 5})).status_code == 403
        assert (await http.post("/rpc/cancel_task", json={"task": task})).json()["status"] == "cancelled"

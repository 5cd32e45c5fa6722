"""Broadcasts from the database and the rights on private channels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.acting import Connection, Row, acting, call, column, connect, new_id, sqlstate, value

if TYPE_CHECKING:
    from realtime_toolkit.stack import LocalStack


async def sent(db: Connection, conversation: str) -> list[Row]:
    """What was sent to the conversation's topic, oldest first."""
    rows = await column(
        db,
        "select to_jsonb(m) from realtime.messages m where topic = %s order by inserted_at, m.ctid",
        f"conversation:{conversation}",
    )
    return list(rows)


async def streamed(db: Connection, user: str, conversation: str) -> str:
    """A message of two chunks, written by the user."""
    async with acting(db, user):
        made = await value(
            db, "insert into messages (conversation_id) values (%s) returning id::text", conversation
        )
    await call(db, "start_message", user, message=made, attempt=1)
    await call(db, "append_chunk", user, message=made, attempt=1, seq=0, position=0, body="Hel")
    await call(db, "append_chunk", user, message=made, attempt=1, seq=1, position=3, body="lo")
    await call(db, "checkpoint_message", user, message=made, attempt=1, content=None)
    await call(db, "finish_message", user, message=made, attempt=1, status="completed", length=5, sha256=None)
    return str(made)


async def test_chunks_and_statuses_are_sent_to_the_private_topic(
    db: Connection, user: str, conversation: str
) -> None:
    made = await streamed(db, user, conversation)
    rows = await sent(db, conversation)
    assert {(row["private"], row["extension"]) for row in rows} == {(True, "broadcast")}
    told = [
        (row["event"], {name: each for name, each in row["payload"].items() if name != "id"}) for row in rows
    ]
    status = {"table": "public.messages", "row_id": made, "attempt": 1}
    chunk = {"message_id": made, "attempt": 1}
    assert told == [
        ("status", {**status, "status": "pending", "version": 1}),
        ("status", {**status, "status": "streaming", "version": 2}),
        ("chunk", {**chunk, "seq": 0, "position": 0, "body": "Hel"}),
        ("chunk", {**chunk, "seq": 1, "position": 3, "body": "lo"}),
        ("status", {**status, "status": "completed", "version": 4}),  # the checkpoint was 3
    ]


async def test_a_task_is_told_of_too(db: Connection, conversation: str) -> None:
    made = await value(db, "insert into tasks (conversation_id) values (%s) returning id::text", conversation)
    await call(db, "claim_task", worker="w", task=made)
    await call(db, "renew_task", task=made, worker="w", attempt=1, progress="0.5")
    await call(db, "finish_task", task=made, worker="w", attempt=1, status="failed", error="x")
    rows = await sent(db, conversation)
    assert [(row["payload"]["table"], row["payload"]["status"]) for row in rows] == [
        ("public.tasks", "pending"), ("public.tasks", "running"), ("public.tasks", "failed"),
    ]  # fmt: skip
    assert {row["payload"]["row_id"] for row in rows} == {made}


@pytest.mark.parametrize(
    "broken",
    [
        "alter function realtime.send(jsonb, text, text, boolean) rename to gone",
        "alter schema realtime rename to gone",
        "create or replace function realtime.send(payload jsonb, event text, topic text, private boolean default true) "
        "returns void language plpgsql as $$ begin raise division_by_zero; end $$",
        "alter table realtime.messages add check (topic = 'never') not valid",
    ],
)
async def test_a_write_never_fails_because_of_its_broadcast(
    stack: LocalStack, user: str, conversation: str, broken: str
) -> None:
    async with connect(stack.admin_url) as admin, admin.transaction(force_rollback=True):
        await admin.execute(broken)
        made = await streamed(admin, user, conversation)
        assert await value(admin, "select content from messages where id = %s", made) == "Hello"


# Private channels: the probe that Realtime itself makes


async def may(
    db: Connection, user: str, topic: str, extension: str, role: str = "authenticated"
) -> tuple[bool, bool]:
    """(read, write), found as Realtime finds it: rows put there and looked for under the user's claims."""
    async with db.transaction(force_rollback=True):
        query = "insert into realtime.messages (topic, extension) values (%s, %s) returning id"
        probe = await value(db, query, topic, extension)
        async with acting(db, user, role):
            await db.execute("select set_config('realtime.topic', %s, true)", [topic])
            found = await column(db, "select id from realtime.messages where id = %s", probe)
            try:
                written = await sqlstate(db, "insert into realtime.messages (topic, extension) values (%s, %s)",
                                         topic, extension)  # fmt: skip
            except AssertionError:
                return bool(found), True
            assert written == "42501"
            return bool(found), False


@pytest.mark.parametrize("extension", ["broadcast", "presence"])
async def test_only_ones_own_conversation_can_be_joined(
    db: Connection, user: str, conversation: str, extension: str
) -> None:
    own = f"conversation:{conversation}"
    assert await may(db, user, own, extension) == (True, True)
    assert await may(db, new_id(), own, extension) == (False, False)
    assert await may(db, user, own, extension, role="anon") == (False, False)
    for foreign in (
        f"conversation:{new_id()}",
        f"tenant:{conversation}",
        conversation,
        f"conversation:{conversation}x",
        f"x conversation:{conversation}",
        f"conversation:{conversation.upper()}" if conversation != conversation.upper() else "x",
        "conversation:",
        "conversation:not-a-uuid",
        "",
    ):
        assert await may(db, user, foreign, extension) == (False, False)


async def test_no_other_extension_is_opened(db: Connection, user: str, conversation: str) -> None:
    assert await may(db, user, f"conversation:{conversation}", "postgres_changes") == (False, False)


async def test_there_is_one_policy_for_each_way(db: Connection) -> None:
    found = await column(
        db,
        "select policyname || ': ' || cmd || ' ' || array_to_string(roles, ',') from pg_policies "
        "where schemaname = 'realtime' and tablename = 'messages' order by 1",
    )
    assert set(found) >= {
        "conversation broadcast read: SELECT authenticated",
        "conversation broadcast write: INSERT authenticated",
        "conversation presence read: SELECT authenticated",
        "conversation presence write: INSERT authenticated",
    }

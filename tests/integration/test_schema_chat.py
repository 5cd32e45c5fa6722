"""The chat schema: who may do what, which status may follow which, and what the tables cost."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from realtime_toolkit.model import MESSAGE_TRANSITIONS, TASK_TRANSITIONS, Status
from tests.integration.acting import (
    Connection,
    Row,
    acting,
    as_digest,
    call,
    column,
    connect,
    digest_of,
    new_id,
    sqlstate,
    value,
)

TABLES = ["conversations", "tasks", "messages", "message_chunks", "realtime_watermarks"]
FUNCTIONS = [
    "tracked_tables", "sync_scope", "digest_scope", "rows_scope", "claim_task", "renew_task", "finish_task",
    "reap_tasks", "cancel_task", "begin_answer", "start_message", "append_chunk", "checkpoint_message",
    "finish_message", "resume_message",
]  # fmt: skip


@pytest.fixture
async def task(db: Connection, conversation: str) -> str:
    return str(await value(db, "insert into tasks (conversation_id) values (%s) returning id", conversation))


@pytest.fixture
async def message(db: Connection, conversation: str, task: str) -> str:
    return str(
        await value(
            db,
            "insert into messages (conversation_id, task_id) values (%s, %s) returning id",
            conversation,
            task,
        )
    )


@pytest.fixture
async def chunk(db: Connection, conversation: str, message: str) -> str:
    """The message that the chunk is of."""
    await db.execute(
        "insert into message_chunks (message_id, attempt, seq, conversation_id, position, body) "
        "values (%s, 1, 0, %s, 0, 'x')",
        [message, conversation],
    )
    return message


# Who may do what


@pytest.mark.usefixtures("chunk")
async def test_only_the_owner_sees_what_hangs_on_a_conversation(
    db: Connection, user: str, conversation: str
) -> None:
    async def seen() -> list[int]:
        return [
            await value(db, f"select count(*) from {table} where {scope} = %s", conversation)
            for table, scope in (
                ("conversations", "id"),
                ("tasks", "conversation_id"),
                ("messages", "conversation_id"),
                ("message_chunks", "conversation_id"),
            )
        ]

    async with acting(db, user):
        assert await seen() == [1, 1, 1, 1]
    async with acting(db, role="service_role"):
        assert await seen() == [1, 1, 1, 1]
    async with acting(db, new_id()):
        assert await seen() == [0, 0, 0, 0]
    async with acting(db):  # a token without sub
        assert await seen() == [0, 0, 0, 0]


@pytest.mark.usefixtures("chunk")
async def test_only_the_owner_writes(db: Connection, user: str, conversation: str, message: str) -> None:
    inserts = [
        ("insert into tasks (conversation_id) values (%s)", [conversation]),
        (
            "insert into messages (conversation_id, role, status) values (%s, 'user', 'completed')",
            [conversation],
        ),
        ("insert into conversations (user_id) values (%s)", [user]),
    ]
    own_words = await value(
        db, "insert into messages (conversation_id, role) values (%s, 'user') returning id", conversation
    )
    chunk = (
        "insert into message_chunks (message_id, attempt, seq, conversation_id, position, body) "
        "values (%s, 1, 1, %s, 1, 'y')"
    )
    updates = [
        ("update conversations set title = 'new' where id = %s", [conversation]),
        ("update tasks set prompt = 'new' where conversation_id = %s", [conversation]),
        ("update messages set content = 'new' where id = %s", [own_words]),
    ]
    deletes = [
        ("delete from messages where conversation_id = %s", [conversation]),
        ("delete from tasks where conversation_id = %s", [conversation]),
        ("delete from conversations where id = %s", [conversation]),
    ]
    async with acting(db, new_id()):
        for query, args in inserts:
            assert await sqlstate(db, query, *args) == "42501"
        for query, args in [*updates, *deletes]:
            assert (await db.execute(query, args)).rowcount == 0
        assert await sqlstate(db, chunk, message, conversation) == "42501"
        assert await sqlstate(db, "update message_chunks set body = 'z'") == "42501"
        assert await sqlstate(db, "delete from message_chunks") == "42501"
    async with acting(db, user):
        for query, args in [*inserts, *updates, *deletes]:
            assert (await db.execute(query, args)).rowcount > 0
        assert await sqlstate(db, chunk, message, conversation) == "42501"  # there is append_chunk
        assert await sqlstate(db, "update message_chunks set body = 'z'") == "42501"


async def test_a_conversation_belongs_to_whoever_makes_it(db: Connection, user: str) -> None:
    async with acting(db, user):
        assert str(await value(db, "insert into conversations default values returning user_id")) == user
        assert await sqlstate(db, "insert into conversations (user_id) values (%s)", new_id()) == "42501"
        given_away = "update conversations set user_id = %s where user_id = %s"
        assert await sqlstate(db, given_away, new_id(), user) == "42501"


async def test_anon_has_nothing(db: Connection) -> None:
    async with acting(db, role="anon"):
        for table in TABLES:
            for query in (
                f"select from {table}",
                f"insert into {table} default values",
                f"delete from {table}",
            ):
                assert await sqlstate(db, query) == "42501"
    granted = """
        select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where (n.nspname = 'realtime_toolkit' or (n.nspname = 'public' and p.proname = any (%s)))
        and has_function_privilege('anon', p.oid, 'execute')"""
    assert await column(db, granted, [*FUNCTIONS, "track_table", "untrack_table"]) == []
    assert not await value(db, "select has_schema_privilege('anon', 'realtime_toolkit', 'usage')")
    held = """
        select c.relname || ' ' || a.privilege_type || ' ' || a.grantee::regrole
        from pg_class c cross join aclexplode(c.relacl) a
        where c.relnamespace in ('public'::regnamespace, 'realtime_toolkit'::regnamespace)
        and (c.relnamespace = 'realtime_toolkit'::regnamespace or c.relname = any (%s))
        and (a.grantee = 0 or a.grantee = 'anon'::regrole)"""
    assert await column(db, held, TABLES) == []


async def test_the_users_rights_are_no_more_than_needed(db: Connection) -> None:
    held = """
        select c.relname || ': ' || string_agg(lower(a.privilege_type), ' ' order by a.privilege_type)
        from pg_class c cross join aclexplode(c.relacl) a
        where c.relnamespace in ('public'::regnamespace, 'realtime_toolkit'::regnamespace)
        and (c.relnamespace = 'realtime_toolkit'::regnamespace or c.relname = any (%s))
        and a.grantee = 'authenticated'::regrole group by c.relname order by 1"""
    assert await column(db, held, TABLES) == [
        "conversations: delete insert select update",
        "message_chunks: insert select",
        "messages: delete insert select update",
        "realtime_watermarks: delete insert select",
        "tasks: delete insert select update",
        "tracked: select",
    ]


async def test_the_functions_do_not_lift_rls(db: Connection) -> None:
    definers = """
        select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where p.prosecdef and (n.nspname = 'realtime_toolkit' or p.proname = any (%s)) order by 1"""
    assert await column(db, definers, FUNCTIONS) == ["broadcast_chunk", "broadcast_status", "epoch", "pulse"]
    unpinned = """
        select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where (n.nspname = 'realtime_toolkit' or (n.nspname = 'public' and p.proname = any (%s)))
        and not coalesce(p.proconfig @> array['search_path=' || case when p.prosecdef
            then 'pg_catalog, pg_temp' else '""' end], false)"""
    assert await column(db, unpinned, [*FUNCTIONS, "track_table", "untrack_table"]) == []


@pytest.mark.parametrize(
    "query",
    [
        "insert into messages (conversation_id, task_id) values (%(mine)s, %(task)s)",
        "insert into message_chunks (message_id, attempt, seq, conversation_id, position, body) "
        "values (%(message)s, 1, 9, %(mine)s, 0, 'x')",
    ],
)
async def test_nothing_hangs_on_two_conversations(
    db: Connection, user: str, conversation: str, query: str
) -> None:
    """One cannot write into one's own conversation what belongs to somebody else's."""
    other = await value(db, "insert into conversations (user_id) values (%s) returning id", new_id())
    task = await value(db, "insert into tasks (conversation_id) values (%s) returning id", other)
    message = await value(db, "insert into messages (conversation_id) values (%s) returning id", other)
    values = {"mine": conversation, "task": task, "message": message}
    async with acting(db, user):
        with pytest.raises((psycopg.errors.ForeignKeyViolation, psycopg.errors.InsufficientPrivilege)):
            async with db.transaction():
                await db.execute(query, values)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        await db.execute(query, values)


@pytest.mark.usefixtures("chunk")
async def test_deleting_a_conversation_takes_all_with_it(
    db: Connection, user: str, conversation: str, task: str, message: str
) -> None:
    async with acting(db, user):
        await db.execute("delete from tasks where id = %s", [task])
        assert await value(db, "select task_id from messages where id = %s", message) is None
        await db.execute("delete from conversations where id = %s", [conversation])
    assert await value(db, "select count(*) from message_chunks where message_id = %s", message) == 0


async def test_watermarks_are_ones_own(db: Connection, user: str) -> None:
    async with acting(db, user):
        made = await value(db, "insert into realtime_watermarks (mark) values ('low') returning id")
        assert (
            await sqlstate(db, "insert into realtime_watermarks (user_id, mark) values (%s, 'x')", new_id())
            == "42501"
        )
        assert await sqlstate(db, "update realtime_watermarks set mark = 'x'") == "42501"
    async with acting(db, new_id()):
        assert await column(db, "select id from realtime_watermarks where id = %s", made) == []
        assert (await db.execute("delete from realtime_watermarks where id = %s", [made])).rowcount == 0
    async with acting(db, role="service_role"):
        nobody = "00000000-0000-0000-0000-000000000000"
        await db.execute("insert into realtime_watermarks (user_id, mark) values (%s, 'service')", [nobody])
        assert await sqlstate(db, "insert into realtime_watermarks (mark) values ('x')") == "23502"
    async with acting(db, user):
        assert (await db.execute("delete from realtime_watermarks where id = %s", [made])).rowcount == 1


async def test_what_is_published_and_how(db: Connection) -> None:
    published = await column(
        db, "select tablename::text from pg_publication_tables where pubname = 'supabase_realtime'"
    )
    assert set(TABLES) <= set(published)
    identities = """
        select c.relname || ' ' || c.relreplident::text || coalesce(' ' || x.indexrelid::regclass::text, '')
        from pg_class c left join pg_index x on x.indrelid = c.oid and x.indisreplident
        where c.relnamespace = 'public'::regnamespace and c.relname = any (%s) order by 1"""
    assert await column(db, identities, TABLES) == [
        "conversations d",
        "message_chunks i message_chunks_conversation_id_message_id_attempt_seq_key",
        "messages i messages_conversation_id_id_key",
        "realtime_watermarks i realtime_watermarks_user_id_id_key",
        "tasks i tasks_conversation_id_id_key",
    ]


@pytest.mark.usefixtures("chunk")
async def test_a_conversation_is_one_scope(db: Connection, user: str, conversation: str) -> None:
    page = await call(db, "sync_scope", user, kind="conversation", value=conversation)
    assert sorted(row["table"] for row in page["rows"]) == [
        "public.conversations", "public.message_chunks", "public.messages", "public.tasks",
    ]  # fmt: skip
    assert as_digest(page["digest"]) == digest_of(page["rows"])
    assert (await call(db, "sync_scope", new_id(), kind="conversation", value=conversation))["rows"] == []


# Statuses

LEASE = "lease_owner = 'w', lease_expires_at = now()"


@pytest.mark.parametrize("new", ["pending", "running", "completed", "failed", "cancelled"])
@pytest.mark.parametrize("old", ["pending", "running", "completed", "failed", "cancelled"])
async def test_transitions_of_a_task(db: Connection, task: str, old: str, new: str) -> None:
    async with db.transaction(force_rollback=True):
        await put(db, "tasks", task, old)
        attempt = 2 if old == "running" and new == "pending" else 1
        query = f"update tasks set status = %s, attempt = %s, {LEASE} where id = %s"
        if old == new or Status(new) in TASK_TRANSITIONS.get(Status(old), frozenset()):
            await db.execute(query, [new, attempt, task])
            row = await value(db, "select to_jsonb(t) from tasks t where id = %s", task)
            assert row["status"] == new
            if old != new:
                check_times(row)
        else:
            assert await sqlstate(db, query, new, attempt, task) == "RT002"


def check_times(row: Row) -> None:
    """A status given by a plain UPDATE brings the times and the lease along."""
    status = Status(row["status"])
    assert (row["completed_at"] is not None) == status.final
    assert (row["lease_expires_at"] is not None) == (status is Status.RUNNING)
    if status is Status.PENDING:
        assert (row["started_at"], row["lease_owner"]) == (None, None)


@pytest.mark.parametrize("new", ["pending", "streaming", "completed", "failed", "cancelled"])
@pytest.mark.parametrize("old", ["pending", "streaming", "completed", "failed", "cancelled"])
async def test_transitions_of_a_message(db: Connection, message: str, old: str, new: str) -> None:
    async with db.transaction(force_rollback=True):
        await put(db, "messages", message, old)
        attempt = 2 if old == "streaming" and new == "pending" else 1
        query = "update messages set status = %s, attempt = %s where id = %s"
        if old == new or Status(new) in MESSAGE_TRANSITIONS.get(Status(old), frozenset()):
            await db.execute(query, [new, attempt, message])
        else:
            assert await sqlstate(db, query, new, attempt, message) == "RT002"


async def put(db: Connection, table: str, row: str, status: str) -> None:
    """By the way there is."""
    async with db.transaction():
        if table == "tasks" and status == "completed":
            await db.execute(f"update tasks set status = 'running', {LEASE} where id = %s", [row])
        lease = f", {LEASE}" if status == "running" else ""
        await db.execute(f"update {table} set status = %s {lease} where id = %s", [status, row])


@pytest.mark.parametrize(("table", "under_way"), [("tasks", "running"), ("messages", "streaming")])
async def test_attempts_only_grow_and_only_with_pending(
    db: Connection, task: str, message: str, table: str, under_way: str
) -> None:
    row = task if table == "tasks" else message
    lease = f", {LEASE}" if table == "tasks" else ""

    async def refused(change: str) -> bool:
        return await sqlstate(db, f"update {table} set {change} where id = '{row}'") == "RT002"

    await db.execute(f"update {table} set attempt = 2 where id = %s", [row])  # pending, tried again
    assert await refused("attempt = 1")
    assert await refused("status = 'failed', attempt = 3")
    assert await refused(f"status = '{under_way}', attempt = 3{lease}")
    await db.execute(f"update {table} set status = '{under_way}'{lease} where id = %s", [row])
    assert await refused("status = 'pending'")
    assert await refused("attempt = 3")
    await db.execute(f"update {table} set status = 'pending', attempt = 3 where id = %s", [row])
    await db.execute(f"update {table} set status = 'cancelled' where id = %s", [row])
    assert await refused("attempt = 4")


@pytest.mark.parametrize(
    "query",
    [
        "insert into tasks (conversation_id, status) values (%(conversation)s, 'done')",
        "insert into messages (conversation_id, status) values (%(conversation)s, 'running')",
        "update tasks set status = 'running' where id = %(task)s",  # without a lease
        "update tasks set progress = 1.5 where id = %(task)s",
        "update messages set role = 'robot' where id = %(message)s",
        "insert into message_chunks (message_id, attempt, seq, conversation_id, position, body) "
        "values (%(message)s, 1, 1, %(conversation)s, 0, '')",
    ],
)
async def test_values_that_cannot_be(
    db: Connection, conversation: str, task: str, message: str, query: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        await db.execute(query, {"task": task, "message": message, "conversation": conversation})


# What it costs


async def test_updates_of_a_message_write_no_index(stack: Any, conversation: str) -> None:
    """HOT, but for the one time that a growing message may move to another page."""

    async def counts(one: Connection) -> tuple[int, int]:
        await one.execute("select pg_stat_force_next_flush()")
        await one.execute("select")  # at the end of which it happens
        found = await one.execute(
            "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relid = 'public.messages'::regclass"
        )
        row = await found.fetchone()
        assert row is not None
        return row[0], row[1]

    async with connect(stack.database_url) as one:
        before = await counts(one)
        for _ in range(3):
            made = await value(
                one, "insert into messages (conversation_id) values (%s) returning id", conversation
            )
            await one.execute("update messages set status = 'streaming' where id = %s", [made])
            length = 40
            while length < 60_000:
                await one.execute(
                    "update messages set content = repeat('ab ', %s) where id = %s", [length, made]
                )
                length = length * 5 // 4
            await one.execute("update messages set status = 'completed' where id = %s", [made])
        after = await counts(one)
    updates, hot = after[0] - before[0], after[1] - before[1]
    assert updates > 90
    assert updates - hot <= 3


async def test_no_index_has_a_column_that_changes_often(db: Connection) -> None:
    indexed = """
        select distinct a.attname::text from pg_index i join pg_attribute a
        on a.attrelid = i.indrelid and a.attnum = any (i.indkey::int2[])
        where i.indrelid = any (%s::regclass[])"""
    tracked = ["conversations", "tasks", "messages", "message_chunks"]
    assert set(await column(db, indexed, tracked)) == {
        "id", "user_id", "conversation_id", "message_id", "attempt", "seq", "task_id", "status", "created_at",
    }  # fmt: skip


async def test_a_chunk_does_not_rewrite_its_message(stack: Any, conversation: str) -> None:
    async with connect(stack.database_url) as one:
        made = await value(
            one, "insert into messages (conversation_id) values (%s) returning id", conversation
        )
        await call(one, "start_message", message=made, attempt=1)
        before = await value(one, "select ctid::text || version from messages where id = %s", made)
        await call(one, "append_chunk", message=made, attempt=1, seq=0, position=0, body="x")
        assert await value(one, "select ctid::text || version from messages where id = %s", made) == before


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("select * from messages where conversation_id = %(id)s", "messages_conversation_id_id_key"),
        (
            "select * from message_chunks where conversation_id = %(id)s and message_id = %(id)s",
            "message_chunks",
        ),
        (
            "select * from message_chunks where message_id = %(id)s and attempt = 1 order by seq",
            "message_chunks_pkey",
        ),
        ("select * from messages where task_id = %(id)s", "messages_task_id_idx"),
        ("select * from conversations where user_id = %(id)s", "conversations_user_id_idx"),
        ("select * from tasks where status = 'pending' order by created_at limit 1", "tasks_open_idx"),
        ("select * from tasks where status = 'running' and lease_expires_at < now()", "tasks_open_idx"),
        ("select * from realtime_watermarks where user_id = %(id)s", "realtime_watermarks_user_id_id_key"),
    ],
)
async def test_what_is_asked_often_has_an_index(db: Connection, query: str, index: str) -> None:
    async with db.transaction(force_rollback=True):
        await db.execute("set local enable_seqscan = off")
        plan = await column(db, f"explain {query.replace('%(id)s', repr(new_id()))}")
        assert index in "\n".join(plan)
